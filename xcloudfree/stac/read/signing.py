"""Signed addresses and credentials: used inside the task that reads, and stored nowhere."""

from __future__ import annotations

import logging
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from typing import Any, Final
from weakref import WeakValueDictionary

from xcloudfree.exceptions import CatalogError, DataError

_QUERY = re.compile(r"\?[^\s'\"`<>,)]+")
_USER = re.compile(r"//[^/\s'\"]+@")
_FRAGMENT = re.compile(r"(://[^\s'\"`<>,)#]*)#[^\s'\"`<>,)]+")
_HEADER = re.compile(
    r"((?:authorization|cookie|[\w-]*key|[\w-]*token)['\"]?: ['\"]?)[^'\"\r\n]+", re.IGNORECASE
)
_LOGIN = re.compile(r"^([A-Za-z][\w+.-]*://)([^/?#\s]+)@")
_SIGNED = re.compile(r"[?&](?:sig|signature|x-amz-signature|x-goog-signature)=", re.IGNORECASE)
_CREDENTIALS = re.compile(
    r"SECRET|TOKEN|PASSWORD|USERPWD|BEARER|HEADERS|COOKIE|SAS|KEY|CONNECTION_STRING|OAUTH|PRIVATE"
)
_HERE: Final[WeakValueDictionary[str, Signer]] = WeakValueDictionary()


class Signer:
    """The argument ``sign=``, pickled by reference: its contents stay in this process."""

    # A function of a module is pickled as its name. Anything else (a closure, a method of an object
    # that contains a token, a function of a notebook) exists only in this process.

    def __init__(self, function: Callable[[str], str]) -> None:
        if not callable(function):
            raise DataError(
                f"sign= takes a function of an address, not {type(function).__name__}",
                fix="call load(..., sign=planetary_computer.sign)",
                option="--sign planetary_computer:sign",
            )
        self._function = function
        self.renews = getattr(function, "renews", True)  # signatures; only Logins does not
        self._key = uuid.uuid4().hex
        _HERE[self._key] = self

    def __call__(self, address: str) -> str:
        """Sign one address, now."""
        signed = self._function(address)
        if not isinstance(signed, str):
            raise DataError(
                f"sign= gave {type(signed).__name__} for an address, not text",
                fix="call load(..., sign=planetary_computer.sign)",
                option="--sign planetary_computer:sign",
            )
        return signed

    @property
    def name(self) -> str:
        """Name of the function; the same in every process, so that a job can be resumed."""
        kind = self._function if hasattr(self._function, "__qualname__") else type(self._function)
        return f"{getattr(kind, '__module__', '')}:{getattr(kind, '__qualname__', '')}"

    def __repr__(self) -> str:
        return f"Signer({self._importable() or 'known to this process only'})"

    def __reduce__(self) -> tuple[Any, ...]:
        name = self._importable()
        return (_by_name, (name,)) if name else (_by_key, (self._key,))

    def __eq__(self, other: object) -> bool:
        # every task gets its own copy, and later tasks shall reuse the result
        return isinstance(other, Signer) and self._function is other._function

    def __hash__(self) -> int:
        return hash(self.name)

    def __dask_tokenize__(self) -> str:
        return self.name

    def _importable(self) -> str | None:
        module, path = self.name.split(":", 1)
        if not module or not path or module == "__main__" or "<" in path:
            return None
        return self.name if _resolve(self.name) is self._function else None


class Logins:
    """Restores ``user:password@`` in addresses that had it, then signs them."""

    def __init__(self, logins: Mapping[str, str], sign: Signer | None) -> None:
        self._logins, self._sign = logins, sign
        self.renews = sign is not None and sign.renews

    def __call__(self, address: str) -> str:
        """Complete one address."""
        login = self._logins.get(address.split("?")[0])
        signed = address if self._sign is None else self._sign(address)
        return signed if login is None else signed.replace("://", f"://{login}@", 1)


def _resolve(name: str) -> Any:
    module, path = name.split(":")
    return reduce(lambda o, part: getattr(o, part, None), path.split("."), sys.modules.get(module))


def _by_name(name: str) -> Signer:
    import_module(name.split(":")[0])
    return Signer(_resolve(name))


def _by_key(key: str) -> Signer:
    return _HERE.get(key) or Signer(_unknown)


def _unknown(address: str) -> str:
    raise CatalogError(
        "sign= (or a password in an address) is known only to the process that called load(), "
        "so that no secret leaves it",
        fix="put the function into a module that the workers can import: load(..., "
        "sign=my_module.sign)",
    )


def is_signed(address: str) -> bool:
    """Whether an address carries a signature."""
    return _SIGNED.search(address) is not None


def is_credential(option: str) -> bool:
    """Whether a GDAL option contains a secret, judging by its name."""
    return _CREDENTIALS.search(option.upper()) is not None


def without_secrets(text: object) -> str:
    """A message without queries, passwords and fragments of the addresses in it."""
    out = _HEADER.sub(r"\1***", _USER.sub("//***@", _QUERY.sub("?***", str(text))))
    return _FRAGMENT.sub(r"\1#***", out)


def split_login(address: str) -> tuple[str, str]:
    """An address without ``user:password@``, and the removed part."""
    match = _LOGIN.match(address)
    if match is None:
        return address, ""
    return match.group(1) + address[match.end() :], match.group(2)


class _Thread(threading.local):
    """What the current thread reads, and GDAL's messages about it."""

    signed: str = ""
    plain: str = ""
    said: list[str] | None = None


_thread = _Thread()
_LOGGERS: Final = ("rasterio", "pystac", "pystac_client", "requests", "urllib3")


@contextmanager
def clean_logging(signed: str, plain: str) -> Iterator[list[str]]:
    """Collect the log messages of this thread, and remove secrets before anyone sees them."""
    for name in [n for n in list(logging.root.manager.loggerDict) if n.split(".")[0] in _LOGGERS]:
        logger = logging.getLogger(name)
        if _clean not in logger.filters:
            logger.addFilter(_clean)
    before = _thread.signed, _thread.plain, _thread.said
    said: list[str] = []
    _thread.signed, _thread.plain, _thread.said = signed, plain, said
    try:
        yield said
    finally:
        _thread.signed, _thread.plain, _thread.said = before


def _clean(record: logging.LogRecord) -> bool:
    if _thread.said is None and record.name.startswith(("requests", "urllib3")):
        return True  # requests of other code are not changed
    text = record.getMessage()
    if _thread.signed:
        text = text.replace(_thread.signed, _thread.plain)
    record.msg, record.args, record.exc_info = without_secrets(text), None, None
    if _thread.said is not None:
        _thread.said.append(record.msg)
    return True
