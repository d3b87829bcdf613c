"""What an editable installation holds beside the path to this tree: the package that the command starts, no more.

Without it hatchling copies everything that `force-include` names, and the copies go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableHook(BuildHookInterface[Any]):
    """Replaces the forced files in an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Prepare a build; `version` is `editable` or `standard`."""
        if version == "editable":
            build_data["force_include_editable"] = {f"{self.root}/scripts/wheel/ticket_duet": "ticket_duet"}
