"""The table: every primitive with what each backend has for it, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ms_gan.portability.backends import BACKENDS, Backend, documented
from ms_gan.portability.graphs import GROUPED, Compiled

Graphs = Mapping[str, Mapping[str, Compiled]]  # recipe -> name of a graph -> the graph
REPLACED, DOCUMENTED = "replaced", "documented"
FEW = 3  # recipes that a row names
KNOWN = {  # (recipe, trap) -> what to do; docs/portability.md says why
    ("r3gan_mnist", GROUPED): "documented as not supported on Ascend: model.cardinality=1 there",
}


def missing(graphs: Graphs) -> list[str]:
    """A line for each graph with primitives that a backend declares nothing for, or with traps."""
    lines = []
    for recipe, parts in graphs.items():
        for part, graph in parts.items():
            new = [trap for trap in graph.traps if (recipe, trap) not in KNOWN]
            if new:
                lines.append(f"{recipe}, {part}: holds {', '.join(new)}")
            for backend in BACKENDS:
                lacking = [p for p in needed(graph, backend) if not answer(p, graph, backend)]
                if lacking:
                    lines.append(
                        f"{recipe}, {part}: {backend.name} declares nothing for "
                        f"{', '.join(sorted(lacking))}"
                    )
    return lines


def known(graphs: Graphs) -> list[str]:
    """A line for each trap that is known."""
    return [
        f"{recipe}: {trap}, {advice}"
        for (recipe, trap), advice in KNOWN.items()
        if any(trap in graph.traps for graph in graphs.get(recipe, {}).values())
    ]


def needed(graph: Compiled, backend: Backend) -> frozenset[str]:
    """What a backend must have: where it replaces as the CPU does, the replacements too."""
    return graph.primitives | graph.kernels if backend.as_cpu else graph.primitives


def answer(primitive: str, graph: Compiled, backend: Backend) -> str | None:
    """What a backend has for a primitive: a kind of kernel, or REPLACED, or DOCUMENTED; or None."""
    if kernel := backend.kernel(primitive):
        return kernel
    if backend.as_cpu and primitive in graph.expanded:
        return REPLACED
    return DOCUMENTED if backend.name in documented(primitive) else None


def rows(graphs: Graphs) -> Iterator[list[str]]:
    """Cells of the table, one row for a primitive, in the order of their names."""
    flat = [(recipe, graph) for recipe, parts in graphs.items() for graph in parts.values()]
    for primitive in sorted(set().union(*(g.primitives | g.kernels for _, g in flat))):
        among = [(r, g) for r, g in flat if primitive in g.primitives | g.kernels]
        graph = next((g for _, g in among if primitive in g.primitives), among[0][1])
        recipes = list(dict.fromkeys(recipe for recipe, _ in among))
        platforms = documented(primitive)
        yield [
            f"`{primitive}`",
            ", ".join(recipes) if len(recipes) <= FEW else f"{len(recipes)} of {len(graphs)}",
            ", ".join(b.name for b in BACKENDS if b.name in platforms) or "-",
            *(entry(primitive, graph, backend) for backend in BACKENDS),
        ]


def entry(primitive: str, graph: Compiled, backend: Backend) -> str:
    """A cell; '-' where the primitive only stands in for another one, on other backends."""
    if primitive not in needed(graph, backend):
        return backend.kernel(primitive) or "-"
    return answer(primitive, graph, backend) or "**nothing**"


def table(graphs: Graphs) -> str:
    """In Markdown."""
    head = ["primitive", "in", "documented for", *(backend.name for backend in BACKENDS)]
    lines = [head, ["---"] * len(head), *rows(graphs)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
