"""Every error that unstuck raises on purpose; each is also a ValueError, TypeError, RuntimeError or ArithmeticError."""

from __future__ import annotations

from .plain_text import plain


class UnstuckError(Exception):
    """Base of all errors of this package; names from elsewhere in the message cannot move a cursor or forge a log."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(plain(part) if isinstance(part, str) else part for part in arguments))


class ArgumentError(UnstuckError, ValueError):
    """An argument has a wrong value, shape or size; the message names it, what was expected and what came."""


class ArgumentTypeError(UnstuckError, TypeError):
    """An argument has a wrong type, dtype or memory layout."""


class DataError(UnstuckError, ValueError):
    """A file or table cannot be used as data: missing, malformed, empty, too large, or a column is unknown."""


class CheckpointError(UnstuckError, ValueError):
    """A saved file is damaged, of another kind, or of a newer format."""


class NonFiniteError(UnstuckError, ArithmeticError):
    """A NaN or an infinity where a finite number is needed; the message says where it first appeared."""


class OperatorError(UnstuckError, RuntimeError):
    """An operator or callback breaks a promise that the method rests on (symmetry, size, finiteness)."""


class NonDeterministicError(OperatorError):
    """The same point gave two different results, so that no single operator exists to analyse."""


class BudgetError(UnstuckError, RuntimeError):
    """The work does not fit the memory that was allowed; the message says how much it needs."""


class BusyError(UnstuckError, RuntimeError):
    """Something is in use elsewhere, e.g. a run that another thread is training."""


class MissingPackageError(UnstuckError, RuntimeError):
    """An optional package is not installed; the message names the feature and the command that installs it."""


class ConvergenceWarning(UserWarning):
    """An iteration stopped at its limit; the result says how far it came."""
