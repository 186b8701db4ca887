"""Mutants of one module: its source with one small fault, by mutmut's operators and two more.

mutmut itself leaves out decorated functions and whatever stands at module level, which here hold caches, properties and
constants; so its operators are used, and the walk through the source is this one.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

# mutmut leaves these calls alone, too: a wrong argument is always a crash.
_PLAIN_CALLS = {"len", "isinstance"}
# What only a progress bar shows.
_PROGRESS_CALLS = {"tqdm"}


@dataclass(frozen=True)
class Mutant:
    """One faulty version of a module.

    function: qualified name of the outermost function or method; empty for what is evaluated at import, defaults of
    parameters included. first_line, last_line: of the statement that is changed, up to the change. change: the changed
    lines, `before => after`; with module and function it names the mutant.
    """

    module: str
    function: str
    first_line: int
    last_line: int
    change: str
    source: str


def mutants(module: str, source: str, most: int, seed: int) -> tuple[int, list[Mutant]]:
    """How many mutants a module has, and at most `most` of them: one at random from each of as many equal stretches."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    walk = _Walk()
    wrapper.visit(walk)
    found = walk.found
    if len(found) > most:
        rng = random.Random(f"{seed} {module}")
        edges = [len(found) * i // most for i in range(most + 1)]
        found = [found[rng.randrange(a, b)] for a, b in zip(edges, edges[1:])]
    return len(walk.found), list(_written(module, source, wrapper.module, found))


@dataclass(frozen=True)
class _Change:
    original: cst.CSTNode
    mutated: cst.CSTNode
    function: str
    first_line: int
    last_line: int


class _Walk(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.found: list[_Change] = []
        self._names: list[str] = []
        self._functions = 0
        self._parameters = 0
        self._statements: list[int] = []
        self._messages = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        # Annotations are never evaluated; decorators are at import, where a fault is a crash of every test.
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        named = node.func.value if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) else None
        if named in _PLAIN_CALLS | _PROGRESS_CALLS:
            return False
        if isinstance(node, cst.BaseSmallStatement | cst.BaseCompoundStatement):
            self._statements.append(self.get_metadata(PositionProvider, node).start.line)
        if isinstance(node, cst.Raise):
            self._messages += 1
        if isinstance(node, cst.Parameters):
            self._parameters += 1
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            if not self._functions:
                self._names.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        self._mutate(node)
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Import | cst.ImportFrom):
            return
        if isinstance(node, cst.BaseSmallStatement | cst.BaseCompoundStatement):
            self._statements.pop()
        if isinstance(node, cst.Raise):
            self._messages -= 1
        if isinstance(node, cst.Parameters):
            self._parameters -= 1
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._functions -= isinstance(node, cst.FunctionDef)
            if not self._functions:
                self._names.pop()

    def _mutate(self, node: cst.CSTNode) -> None:
        # Wording is for people; tests/test_messages.py asserts what of it matters.
        if self._messages and isinstance(node, cst.BaseString):
            return
        for kind, operator in [*mutation_operators, (cst.Call, _without_call), (cst.If, _negated)]:
            if isinstance(node, kind):
                for mutated in operator(node):
                    function = ".".join(self._names) if self._functions and not self._parameters else ""
                    anchor = node.test if isinstance(node, cst.If) else node
                    place = self.get_metadata(PositionProvider, anchor, None)
                    first = self._statements[-1]
                    self.found.append(
                        _Change(node, mutated, function, first, place.end.line if place else first)
                    )


def _without_call(node: cst.Call) -> Iterator[cst.BaseExpression]:
    """`f(x)` becomes `(x)`."""
    if len(node.args) == 1 and not node.args[0].star and not node.args[0].keyword:
        value = node.args[0].value
        if not isinstance(value, cst.GeneratorExp):
            yield value.with_changes(
                lpar=[*value.lpar, cst.LeftParen()], rpar=[*value.rpar, cst.RightParen()]
            )


def _negated(node: cst.If) -> Iterator[cst.If]:
    """`if x` becomes `if not x`, where mutmut has no operator for x."""
    if isinstance(node.test, cst.Name | cst.Call | cst.Attribute):
        test = cst.UnaryOperation(cst.Not(whitespace_after=cst.SimpleWhitespace(" ")), node.test)
        yield node.with_changes(test=test, whitespace_before_test=cst.SimpleWhitespace(" "))


def _written(module: str, source: str, tree: cst.Module, found: list[_Change]) -> Iterator[Mutant]:
    lines = source.splitlines()
    for change in found:
        mutated = tree.deep_replace(change.original, change.mutated).code
        try:
            compile(mutated, module, "exec", dont_inherit=True)
        except SyntaxError:
            continue
        difference = [d for d in difflib.ndiff(lines, mutated.splitlines()) if d[:2] in ("- ", "+ ")]
        before, after = (" ".join(d[2:].strip() for d in difference if d[0] == sign) for sign in ("-", "+"))
        yield Mutant(
            module, change.function, change.first_line, change.last_line, f"{before} => {after}", mutated
        )
