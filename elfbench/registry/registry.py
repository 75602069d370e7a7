"""Name -> lazy "module:attribute" target. A duplicate name is an error that names both owners; nothing heavy is imported before `get`."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar, cast

from elfbench.core.errors import ConfigError, PrerequisiteError, unknown

T = TypeVar("T")


class Registration(NamedTuple):
    """A lazy target (or an object, for plug-in files) and the package or file that owns it."""

    target: object
    owner: str


def variant_parts(name: str) -> tuple[str, str] | None:
    """(NAME, ARGUMENT) of `NAME@ARGUMENT`, else None. A family's argument may hold an @ of its own."""
    base, at, argument = name.partition("@")
    return (base, argument) if at and ":" not in base else None


class Registry(Generic[T]):
    """All registered things of one kind.

    A name that ends in a colon is a family: `imported:` makes `imported:anything` from its target, a function of the argument.
    With `variant`, `NAME@ARGUMENT` is what it makes of the thing NAME and the argument; only plain names have variants.
    """

    def __init__(
        self,
        kind: str,
        builtin: Mapping[str, str],
        group: str | None = None,
        *,
        variant: Callable[[T, str], T] | None = None,
        groups: Iterable[str] = (),
    ) -> None:
        """`groups`: names that stand for several entries where users write them; not entries, but what a misspelled one is like."""
        self.kind, self.group, self._variant, self._groups = kind, group, variant, tuple(groups)
        self._entries: dict[str, Registration] = {}
        self._loaded: dict[str, T] = {}
        self._frozen = False
        for name, target in builtin.items():
            self.add(name, target, owner="elfbench")

    def add(self, name: str, target: object, *, owner: str) -> None:
        """Registers `target`. Raises ConfigError when the name is taken, or after the first look-up."""
        if self._frozen:
            raise ConfigError(f"{self.kind} registry is closed: plug-ins are added before the first look-up", key=name)
        if name in self._entries:
            raise ConfigError(
                f"two owners for {self.kind} {name!r}",
                key=name,
                found=f"{self._entries[name].owner} and {owner}",
                remedy=f"rename one of them, or uninstall {owner}",
            )
        self._entries[name] = Registration(target, owner)

    def freeze(self) -> None:
        """Reads the entry points once and closes the registry."""
        if self._frozen:
            return
        if self.group:
            for point in importlib.metadata.entry_points(group=self.group):
                self.add(point.name, point.value, owner=point.dist.name if point.dist else point.value)
        self._frozen = True

    def names(self) -> tuple[str, ...]:
        """All names, sorted; families with their colon."""
        self.freeze()
        return tuple(sorted(self._entries))

    def owner(self, name: str) -> str:
        """Who registered `name`."""
        return self._find(name)[1].owner

    def target(self, name: str) -> object:
        """What `name` points at: a "module:attribute" string, or the object of a plug-in file."""
        return self._find(name)[1].target

    def get(self, name: str) -> T:
        """The object behind `name`, imported now. Raises ConfigError with the nearest name when there is none."""
        if name not in self._loaded and (parts := self._parts(name)):
            assert self._variant is not None
            self._loaded[name] = self._variant(self.get(parts[0]), parts[1])
        if name not in self._loaded:
            key, registration = self._find(name)
            thing = self._import(registration, name)
            if key.endswith(":"):
                thing = thing(name[len(key) :])  # type: ignore[operator]
            self._loaded[name] = cast(T, thing)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        try:
            self._find(str(name))
        except ConfigError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _parts(self, name: str) -> tuple[str, str] | None:
        return variant_parts(name) if self._variant else None

    def _find(self, name: str) -> tuple[str, Registration]:
        self.freeze()
        if parts := self._parts(name):
            name = parts[0]
        if name in self._entries and not name.endswith(":"):
            return name, self._entries[name]
        family, colon, argument = name.partition(":")
        if colon and not argument and name in self._entries:
            raise ConfigError(
                f"{name} needs a source", key=self.kind, found=name, allowed=f"{name}SOURCE, e.g. a folder"
            )
        if colon and argument and family + ":" in self._entries:
            return family + ":", self._entries[family + ":"]
        # A family is no answer to a name without a colon: whoever types "mdlm" means an entry.
        near = [one for one in (*self._entries, *self._groups) if colon or not one.endswith(":")]
        raise unknown(self.kind, name, near, key=self.kind, remedy=f"elfbench list {self.kind}s")

    def _import(self, registration: Registration, name: str) -> object:
        if not isinstance(registration.target, str):
            return registration.target
        module, _, attribute = registration.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise PrerequisiteError(
                f"{self.kind} {name!r} needs a package that is not installed",
                key=name,
                found=f"no module named {error.name!r}",
                remedy="pip install 'elfbench[all]'",
            ) from error
        except AttributeError as error:
            raise ConfigError(
                f"{self.kind} {name!r} points at nothing",
                key=name,
                found=registration.target,
                remedy=f"ask its owner, {registration.owner}",
            ) from error
