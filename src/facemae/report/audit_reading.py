"""`audit.json` as the report reads it: every section typed, those that were not asked for empty."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facemae.errors import DataError
from facemae.report.audit_models import (
    Attack,
    AttackerOf,
    EmbedderOf,
    HeadlineOf,
    LinkingOf,
    MembershipOf,
    MetadataOf,
    NotRun,
    Read,
    TemplatesOf,
    UnlinkabilityOf,
)
from facemae.spec.manifest import FILE
from facemae.spec.results import EVERYBODY, RELEASED, SHOWN_K, UNPROTECTED

RESULT = "audit.json"


class AuditRead(Read):
    """One whole audit."""

    attacks: tuple[Attack, ...]
    linking: tuple[LinkingOf, ...] = ()
    unlinkability: tuple[UnlinkabilityOf, ...] = ()
    templates: tuple[TemplatesOf, ...] = ()
    membership: tuple[MembershipOf, ...] = ()
    metadata: MetadataOf | None = None
    attackers: tuple[AttackerOf, ...] = ()
    embedders: tuple[EmbedderOf, ...] = ()
    headline: HeadlineOf | None = None
    headline_same_photo: HeadlineOf | None = None
    not_run: tuple[NotRun, ...] = ()

    @property
    def k(self) -> int:
        """The K that tables and figures are about: the headline's, else the paper's 2, else the least."""
        measured = {at.k for attack in self.attacks for at in attack.at}
        if self.headline and self.headline.k in measured:
            return self.headline.k
        return SHOWN_K if SHOWN_K in measured else min(measured, default=SHOWN_K)

    @property
    def everybody(self) -> tuple[Attack, ...]:
        """Attacks by all probes, one attacker after another; the level without protection first."""
        found = [attack for attack in self.attacks if attack.subset == EVERYBODY]
        names = [UNPROTECTED, *(attack.attack for attack in found)]
        return tuple(sorted(found, key=lambda attack: (names.index(attack.attack), attack.same_photo)))

    @property
    def protected(self) -> bool:
        """Whether anything but the originals was attacked."""
        return any(attack.attack == RELEASED for attack in self.attacks)

    @property
    def networks(self) -> tuple[EmbedderOf, ...]:
        """Every network that judged: as listed, then those of which only the name is known."""
        listed = {embedder.name: embedder for embedder in self.embedders}
        used = dict.fromkeys([*listed, *(row.embedder for row in self._rows)])
        return tuple(listed.get(name, EmbedderOf(name=name)) for name in used)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all attackers that found something or not, in order."""
        return tuple(dict.fromkeys(row.attack for row in self._rows))

    @property
    def _rows(self) -> tuple[Attack | LinkingOf | UnlinkabilityOf | TemplatesOf, ...]:
        return (*self.everybody, *self.linking, *self.unlinkability, *self.templates)

    @property
    def people(self) -> int:
        """How many people the headline's search was among, else the plain search; 0 where there is none."""
        if self.headline and self.headline.identities:
            return self.headline.identities
        asked = [attack for attack in self.everybody if attack.attack == RELEASED] or list(self.everybody)
        return max((at.identities for attack in asked for at in attack.at), default=0)

    @property
    def tests(self) -> int:
        """How many numbers were tested against chance."""
        found = sum(len(attack.at) for attack in self.attacks) + sum(len(row.at) for row in self.templates)
        for attack in self.attacks:
            strangers = attack.open_set
            if strangers and strangers.auc:
                found += 1 + sum(point.rate is not None for point in strangers.told)
        for pairs in self.linking:
            found += 1 + sum(point.rate is not None for point in pairs.tar)
        for scores in self.membership:
            found += 1 + sum(point.rate is not None for point in scores.points) + (scores.smallest is not None)
        return found + len(self.unlinkability)

    def says(self, name: str) -> str:
        """Who attacks, what they own, and what success means; "" where the audit does not tell."""
        return next((attacker.says for attacker in self.attackers if attacker.name == name), "")


def read_audit_directory(directory: Path) -> AuditRead:
    """The audit in ``directory``.

    Raises:
        DataError: no ``audit.json``, or one that is none.
    """
    file = Path(directory) / RESULT
    try:
        return AuditRead.model_validate(_visible(json.loads(file.read_bytes())))
    except OSError:
        raise DataError(f"{directory} is no audit", got=f"no {RESULT}", needed="a folder that `audit` wrote") from None
    except (ValueError, RecursionError) as error:  # pydantic's and json's own are ValueErrors
        got = "no JSON"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            got = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise DataError(f"{file} is no audit", got=got, needed="what `audit` wrote, unchanged") from None


def _visible(found: Any) -> Any:
    """The same with nothing hidden in its texts: whoever made a release chose the names of its files."""
    if isinstance(found, str):
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in found)
    if isinstance(found, list):
        return [_visible(one) for one in found]
    return {key: _visible(one) for key, one in found.items()} if isinstance(found, dict) else found


def digest_of_audit(directory: Path) -> str:
    """The digest that names the audit; "" where the folder has no manifest that says one."""
    try:
        digest = json.loads((Path(directory) / FILE).read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return digest if re.fullmatch("[0-9a-f]{64}", str(digest)) else ""
