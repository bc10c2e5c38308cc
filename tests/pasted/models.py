"""Networks and their weights: names, files, checkpoints of authors."""

SETUP = """
import os, pathlib, pickle
import torch
models = xcf.models
convert, load = models.convert, models.load
model = models.create("carf-tiny")
network = model.network
path = "mine.safetensors"
new_path = "new.pt"
folder = "made"
def good(): model.save(path); return path
def spoil(change):
    "A weights file of which the specification is changed."
    from safetensors.torch import load_file, save_file
    from safetensors import safe_open
    good()
    with safe_open(path, "pt") as file: meta = file.metadata()
    save_file(load_file(path), path, change(meta))
    return path
def edit(**fields):
    import json
    def change(meta):
        key = next(k for k in meta if meta[k].startswith("{"))
        return {**meta, key: json.dumps({**json.loads(meta[key]), **fields})}
    return change
"""

ROWS = [
    "models.load('carf-smal-demo')",
    "models.create('carf-small-demo')",
    "models.load(3)",
    "path = 'gone.safetensors'; models.load(path)",
    "spoil(edit(architecture='glfc')); models.load(path)",
    "spoil(edit(options={**model.spec.options, 'features': 16})); models.load(path)",
    "spoil(edit(optical_bands=['B02', 'B03'])); models.load(path)",
    "torch.save({'a': torch.zeros(3)}, path_of_G1 := 'a.pt'); path_of_G2 = 'b.pt'\n"
    "convert(path_of_G1, 'simulation-fusion-gan')",
    "models.create('glfc')",
    "models.create('uncrtaints', normalisation='dsen2cr', uncertainty=False)",
    "ds.cloudfree.reconstruct(model=3, mask=ds.B03 > 0.2)",
    "spoil(lambda meta: {}); models.load(path)",
    "spoil(lambda meta: {key: 'x' for key in meta}); models.load(path)",
    "spoil(edit(dates=[1])); models.load(path)",
    "spoil(edit(colour=3)); models.load(path)",
    "spoil(edit(level='L2A')); models.load(path)",
    "spoil(edit(stride=1)); models.load(path)",
    "spoil(edit(options={'features': 3})); models.load(path)",
    "data = pathlib.Path(good()).read_bytes(); pathlib.Path(path).write_bytes(data[:-9])\n"
    "models.load(path)",
    "data = bytearray(pathlib.Path(good()).read_bytes()); data[-9] ^= 1\n"
    "pathlib.Path(path).write_bytes(data); models.load(path)",
    "model.for_bands(['B02'])",
    "torch.save([1], path := 'a.pt'); convert(path, 'carf')",
    "path = 'a.pt'; pathlib.Path(path).write_bytes(b'no'); convert(path, 'carf')",
    "path, state = 'a.pt', network.state_dict()\n"
    "torch.save({'state_dict': state, 'of': pathlib.Path('a')}, path)\n"
    "convert(path, 'carf')",
    "good(); convert(path, 'carf')",
    "path_of_G1, path_of_G2 = 'G1.pt', 'G2.pt'; convert([path, path], 'carf')",
]
