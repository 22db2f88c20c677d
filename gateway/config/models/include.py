"""Section `include`: other files with parts of the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.types import OneOrMore

IncludedPath = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class OwnedNames(Section):
    """Patterns of the names that an included file may define, such as team-a-*, and of what it may
    use outside of the configuration. The file may have no other sections. `{file}` stands for the
    file's name without its suffix.
    """

    routes: OneOrMore | None = Field(None, description="Names of its routes.")
    paths: OneOrMore | None = Field(None, description='Paths of its routes, such as "/{file}/*".')
    models: OneOrMore | None = Field(None, description="Names of its models.")
    upstreams: OneOrMore | None = Field(None, description="Names of its upstreams.")
    limits: OneOrMore | None = Field(None, description="Names of its limits.")
    auth: OneOrMore | None = Field(None, description="Names of its identity providers.")
    secrets: OneOrMore | None = Field(
        None,
        description="Environment variables, and names of secrets at a provider, that its "
        "secrets may use, such as TEAM_A_*.",
    )
    files: OneOrMore | None = Field(
        None,
        description="Files that it may use: secrets, certificates, keys, lists of endpoints.",
    )
    commands: OneOrMore | None = Field(
        None, description="Programs that it may run for its secrets."
    )
    plugins: OneOrMore | None = Field(
        None, description="Dotted names of plug-ins that it may use, such as acme.headers.*."
    )
    egress: bool = Field(
        False, description="Allow `proxy`, and `allow_addresses`, which opens inner networks."
    )


class IncludeSettings(Section):
    """Files that are read as parts of this one; see deploying.md."""

    path: IncludedPath = Field(
        description="File, folder (its *.yaml and *.yml) or pattern such as teams/*.yaml, "
        "relative to this file's folder."
    )
    owns: OwnedNames | None = Field(
        None,
        description="Parts of the configuration that these files may define; default: everything.",
    )
