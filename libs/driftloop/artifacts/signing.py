"""Who vouches for what: the bytes that are signed, by whom, and what is wrong with a signature.

The trainer signs the manifest of what it made. The registry signs each promotion: which manifest
and which bytes are the champion, instead of which, as number what; and each link of the chain of
events. One key both logs in to NATS and signs, and a server may have any text signed at login. So
what is signed here begins with a byte that no text has, and then with what it is: a signature is
good for one purpose only.
"""

from typing import Final

import msgspec

from driftloop.bus.identity import Identity, Trust
from driftloop.contracts.chain import Link
from driftloop.contracts.events import ModelPromoted, ModelRolledBack
from driftloop.contracts.manifest import Manifest, canonical
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Promotion, Version

TRAINER: Final = "trainer"
REGISTRY: Final = "registry"
NO_TEXT: Final = b"\xff"
"""UTF-8 never has this byte, and what a NATS server has signed at login is text."""


def statement(kind: str, body: bytes) -> bytes:
    """What is signed: the purpose, then the bytes it is about."""
    return NO_TEXT + f"driftloop {kind} 1\n".encode() + body


def signed_manifest(identity: Identity | None, manifest: Manifest) -> bytes:
    """The signature of a manifest; empty without a key."""
    return b"" if identity is None else identity.sign(statement("manifest", canonical(manifest)))


def manifest_problem(trust: Trust | None, manifest: Manifest, sha256: str, signature: bytes) -> str:
    """Why a manifest is not what the trainer signed; empty if it is, or where there are no keys."""
    if trust is None:
        return ""
    about = f"manifest of version {manifest.version}"
    body = canonical(manifest)
    if (found := digest(body)) != sha256:
        return f"{about}: has digest {found[:16]}; accepted: {sha256[:16] or 'one that is named'}"
    if not signature:
        return f"{about}: is not signed; accepted: a signature by {TRAINER}"
    if not trust.signed(TRAINER, statement("manifest", body), signature):
        return f"{about}: the signature is not by a key of {TRAINER}"
    return ""


def version_problem(trust: Trust | None, model: str, number: int, version: Version) -> str:
    """Why a version kept as `number` of `model` may not be loaded; empty if it may."""
    if trust is None:
        return ""
    its = version.manifest
    if (its.model, its.version) != (model, number):
        return f"version {number}: has the manifest of version {its.version} of {its.model}"
    return manifest_problem(trust, its, version.manifest_sha256, version.signature)


def countersigned(identity: Identity, promotion: Promotion) -> Promotion:
    """The promotion with this identity's signature."""
    return msgspec.structs.replace(promotion, signature=identity.sign(_body(promotion)))


def promotion_problem(trust: Trust | None, promotion: Promotion) -> str:
    """Why a promotion is not one that the registry decided on; empty if it is."""
    if trust is None:
        return ""
    about = f"promotion {promotion.number} of {promotion.model} (version {promotion.version})"
    if not promotion.signature:
        return f"{about}: is not signed; accepted: a signature by {REGISTRY}"
    if not trust.signed(REGISTRY, _body(promotion), promotion.signature):
        return f"{about}: the signature is not by a key of {REGISTRY}"
    return ""


def champion_problem(trust: Trust | None, state: ModelState) -> str:
    """Why the champion of a state may not answer; empty if it may.

    Proved are the registry's decision, the trainer's manifest, and that one is about the other.
    """
    if trust is None or not state.champion:
        return ""
    promotion, version = state.promotion, state.versions.get(state.champion)
    if version is None:
        return f"version {state.champion}: is not described in the state"
    if promotion is None:
        return f"version {state.champion}: there is no promotion of it; accepted: a signed one"
    said = promotion.model, promotion.version, promotion.manifest_sha256, promotion.model_sha256
    kept = state.model, state.champion, version.manifest_sha256, version.manifest.model_sha256
    if said != kept:
        return (
            f"promotion {promotion.number}: is of version {promotion.version} of "
            f"{promotion.model}, manifest {promotion.manifest_sha256[:16]}; the state has version "
            f"{state.champion} of {state.model}, manifest {version.manifest_sha256[:16]}"
        )
    return promotion_problem(trust, promotion) or version_problem(
        trust, state.model, state.champion, version
    )


def signed_link(identity: Identity | None, link: Link) -> Link:
    """A link of the chain of events with this identity's signature; as it is without a key."""
    if identity is None:
        return link
    return msgspec.structs.replace(link, signature=identity.sign(_link_body(link)))


def link_signed(trust: Trust, link: Link) -> bool:
    """Whether the registry signed a link of the chain."""
    return trust.signed(REGISTRY, _link_body(link), link.signature)


def promotion_of(event: ModelPromoted | ModelRolledBack) -> Promotion:
    """The promotion that an event tells of."""
    return Promotion(
        model=event.model,
        number=event.number,
        version=event.version,
        previous=event.previous,
        manifest_sha256=event.manifest_sha256,
        model_sha256=event.model_sha256,
        signature=event.signature,
    )


def _link_body(link: Link) -> bytes:
    count = link.number + len(link.entries)
    return statement("chain", f"{link.model} {count} ".encode() + link.after)


def _body(promotion: Promotion) -> bytes:
    unsigned = msgspec.structs.replace(promotion, signature=b"")
    return statement("promotion", msgspec.json.encode(unsigned, order="sorted"))
