"""Models in folders and on the Hugging Face Hub: weights with a model card."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xcloudfree.exceptions import ModelError
from xcloudfree.models import networks
from xcloudfree.models.model import Model
from xcloudfree.models.spec import ModelSpec

WEIGHTS = "model.safetensors"
CARD = "README.md"

_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def save_pretrained(model: Model, folder: str | Path) -> Path:
    """Write a model and its card to a folder, in the form that :func:`push_to_hub` uploads.

    Parameters
    ----------
    model : Model
        Model to write.
    folder : str or Path
        Folder; created if it does not exist.

    Returns
    -------
    Path
        The folder, with ``model.safetensors`` and ``README.md``; :func:`from_pretrained` reads it.

    Raises
    ------
    ModelError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> from xcloudfree import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_pretrained(models.load("carf-tiny"), folder)
    ...     sorted(file.name for file in path.iterdir()), from_pretrained(path).spec.name
    (['README.md', 'model.safetensors'], 'carf-tiny')
    """
    return _write(model, Path(folder), str(folder))


def from_pretrained(source: str | Path) -> Model:
    """Load a model from a folder or from the Hugging Face Hub; nothing is ever unpickled.

    Parameters
    ----------
    source : str or Path
        Folder of :func:`save_pretrained` or a file of ``model.save``; or, if neither exists,
        ``"owner/name"`` or ``"owner/name@revision"`` of a repository. A private one needs
        ``HF_TOKEN`` or ``hf auth login``.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If neither the folder nor the repository exists, or it cannot be reached.
    WeightsError
        If its weights cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from xcloudfree import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_pretrained(models.load("carf-tiny"), folder)
    ...     from_pretrained(folder).spec.name
    'carf-tiny'
    """
    path = Path(source)
    if path.exists():  # local files take precedence
        return Model.read(path / WEIGHTS if path.is_dir() else path)
    match = _REPOSITORY.fullmatch(str(source))
    if isinstance(source, Path) or match is None:
        raise ModelError(
            f"{source} is neither a folder nor the name of a repository",
            fix="call xcloudfree.models.from_pretrained('owner/name'), or load(path) with a file",
        )
    hub = _library()
    call = f"from_pretrained({str(source)!r})"
    with _explained(f"{source} cannot be fetched", call, hub.get_token()):
        file = hub.hf_hub_download(match["repo"], WEIGHTS, revision=match["revision"])
    return Model.read(file)


def push_to_hub(
    model: Model, repository: str, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a model and its card, and return the address; creates the repository if needed."""
    match = _REPOSITORY.fullmatch(repository)
    if match is None or match["revision"]:
        raise ModelError(
            f"{repository!r} is not a repository", fix="call model.push_to_hub('owner/name')"
        )
    hub = _library()
    call = f"push_to_hub({repository!r}, token=...)"
    with tempfile.TemporaryDirectory() as folder:
        _write(model, Path(folder), repository)
        with _explained(f"{repository} cannot be written", call, token, hub.get_token()):
            api = hub.HfApi(token=token)
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"Upload {model.spec.name}"
            )
    return str(address)


def card(spec: ModelSpec, source: str) -> str:
    """Model card as Markdown for the Hub."""
    listed = {"apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "cc-by-4.0", "cc-by-sa-4.0"}
    plain = spec.licence.lower() in listed
    matter = {
        "library_name": "xcloudfree",
        "license": spec.licence.lower() if plain else "other",
        **({} if plain else {"license_name": "see-model-card"}),
        "pipeline_tag": "image-to-image",
        "tags": [
            "cloud-removal", "earth-observation", "sentinel-1", "sentinel-2", spec.architecture,
        ],
    }  # fmt: skip
    reach = f"{spec.reach} px" if spec.reach is not None else f"all of a tile of {spec.tile} px"
    facts = {
        "Architecture": f"{spec.architecture}: {networks.architecture(spec.architecture).source}",
        "Optical bands": ", ".join(spec.optical_bands),
        "Level of the reflectance": spec.level,
        "Polarisations": ", ".join(spec.polarisations),
        "Backscatter": f"{spec.sar_quantity}, dB",
        "Normalisation": spec.normalisation,
        "Stride, reach": f"{spec.stride} px, {reach}",
        "Dates per image": spec.dates,
        "Estimates variance": "yes" if spec.variance else "no",
        "Reads the cloud mask": "yes" if spec.needs_mask else "no",
        "Reads of other dates": ", ".join(spec.context) or "nothing",
        "Training data": spec.training_data if spec.trained else "none: the weights are untrained",
        "Licence": spec.licence,
        "Written by": f"xcloudfree {spec.library_version}",
        **({"Note": spec.note} if spec.note else {}),
        **{f"Metric: {name}": value for name, value in spec.metrics.items()},
    }
    warning = (
        "> These weights only demonstrate the software, and make no claim of quality.\n\n"
        if spec.demonstration
        else ""
    )
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items())
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in matter.items())
    return f"""---
{front}
---

# {spec.name}

Removes clouds from Sentinel-2 with the help of Sentinel-1.

{warning}```python
import xcloudfree as xcf
model = xcf.models.from_pretrained({json.dumps(source)})
clear = ds.cloudfree.reconstruct(model=model)
```

| | |
|---|---|
{rows}
"""


def _write(model: Model, folder: Path, source: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be made ({error})",
            fix="call save_pretrained(model, folder) with another",
        ) from error
    model.save(folder / WEIGHTS)
    (folder / CARD).write_text(card(model.spec, source), encoding="utf-8")
    return folder


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", r"\|").replace("\n", " ")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ModelError(
            "the Hugging Face Hub needs huggingface_hub", fix="call `pip install 'xcloudfree[hub]'`"
        ) from None
    return huggingface_hub


@contextmanager
def _explained(what: str, call: str, *secrets: str | None) -> Iterator[None]:
    """Errors of the Hub's client as errors of this library, without secrets."""
    try:
        yield
    except Exception as error:  # errors come from several HTTP libraries
        words = " ".join(str(error).split()) or type(error).__name__
        for secret in filter(None, secrets):
            words = words.replace(secret.strip(), "***")
        # from None: the client's own error may quote the headers of the request
        raise ModelError(
            f"{what}: {words}",
            fix=f"see the name, the network and `hf auth whoami`, then call {call} again",
        ) from None
