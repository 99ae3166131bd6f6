"""What is noted for the report while a network is made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.fx import Node

from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.capture import ALONE
from fastconv.nn.deployment.plan import Plan
from fastconv.nn.deployment.report import Row, bytes_of, describe


class Notes:
    """Rows with their place in the model, and ``alarms``: what its user must be warned of."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: list[tuple[float, Row]] = []
        self.alarms: list[str] = []
        self.told: set[str] = set()

    def finished(self) -> list[Row]:
        """All rows, in the order of the model."""
        for node in self.plan.modules:
            self.tell(node, "nothing to do")
        return [row for _, row in sorted(self.rows, key=lambda pair: pair[0])]

    def tell(self, node: Node, became: str, new: nn.Module | None = None) -> None:
        """What became of the module of a node, and of another call of it that is packed otherwise."""
        name = node.meta.get("name", "")
        module = self.plan.module(node)
        again = name in self.told
        if not name or (again and new is None):
            return
        self.told.add(name)
        before, became = (0, f"again, {became}") if again else (node.meta.get("before", 0), became)
        layer = node.meta.get("layer") or ("+" if module is None else describe(module))
        reason = self.plan.notes.get(node, "")
        shown = "" if name == ALONE else name
        self.rows.append(
            (node.meta["at"], Row(shown, layer, became, before, 0 if new is None else bytes_of(new), reason))
        )

    def constant(self, sign: Node, constant: Tensor, chain: Sequence[Node]) -> None:
        """Say so where signs never change: a network that was built so learns nothing there."""
        count, channels = int(constant.sum()), len(constant)
        if not count:
            return
        kinds = [type(module).__name__ for module in map(self.plan.module, chain) if module is not None]
        after = f" after {', '.join(kinds)}" if kinds else ""
        share = "all" if count == channels else str(count)
        why = reasons.ONE_SIGN.format(share=share, channels=channels, after=after)
        readers = [user.meta["name"] for user in sign.users if user.meta.get("name")]
        before = f" before {readers[0]}" if readers else ""
        self.rows.append((sign.meta["at"] + 0.25, Row("", "", f"warning{before}", 0, 0, why)))
        if count == channels:
            self.alarms.append(f"deploy: the signs{before} never change: {why}")

    def added(self, became: str, module: nn.Module, before: Node) -> None:
        self.rows.append(
            (before.meta.get("at", 0) - 0.5, Row("", "", f"added: {became}", 0, bytes_of(module), ""))
        )
