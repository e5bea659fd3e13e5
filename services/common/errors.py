"""Every error that Claire raises on purpose, in one tree.

ClaireError
├── ContractViolation        a message does not keep its event contract (quarantined, never fatal)
├── NumberOutOfContract      a number that may not stand on the wire (NaN, Infinity, too many digits)
├── InputUnusable            what somebody gave (a file, folder, option, address) cannot be used: exit code 2
│   ├── SettingsInvalid      one or more settings are wrong; lists all of them with the fix
│   └── FeedInputInvalid     a recorded file cannot be used; names file, line and value
├── JournalError
│   ├── JournalHole          events are missing and no archive has them: the service halts
│   ├── JournalClosed        the bus is not open yet (the writer has not compared it with PostgreSQL)
│   ├── FenceLost            another instance of this service has taken over: exit
│   ├── LeaseHeld            another instance of this service is alive: exit
│   ├── PublishRefused       memory admission: back off and try again
│   └── PublishRejected      the script refused the batch as malformed: a fault of ours, halt
├── ExchangeUnreachable      an exchange gave no answer that can be read: nothing is known
│   └── ExchangeAnswerInvalid  an answer lacks a field or has a value that cannot be; names both
│       └── ExchangeHistoryTooLong  more has happened than an exchange can be asked for: what is missing cannot be known
├── ExchangeRefused          an exchange answered with an error; carries its code
├── SandboxRefusal           what the sandbox exchange answers as MEXC would: HTTP status, code and text
├── StateMismatch            a snapshot does not match the journal or its own checksum
├── StoreError               PostgreSQL content contradicts the journal (chain, cursor): the writer halts
└── IllegalTransition        a state machine was asked for a transition that does not exist: a fault, halt
"""

from __future__ import annotations

__all__ = [
    "ClaireError",
    "ContractViolation",
    "ExchangeAnswerInvalid",
    "ExchangeHistoryTooLong",
    "ExchangeRefused",
    "ExchangeUnreachable",
    "FeedInputInvalid",
    "FenceLost",
    "IllegalTransition",
    "InputUnusable",
    "JournalClosed",
    "JournalError",
    "JournalHole",
    "LeaseHeld",
    "NumberOutOfContract",
    "PublishRefused",
    "PublishRejected",
    "SandboxRefusal",
    "SettingsInvalid",
    "StateMismatch",
    "StoreError",
]


class ClaireError(Exception):
    """Root of all errors raised on purpose."""


class ContractViolation(ClaireError, ValueError):
    """A message does not keep its event contract; the text names the field, the value and what is meant."""


class NumberOutOfContract(ClaireError, ValueError):
    """A number that may not stand on the wire: not finite, over 28 significant digits or over 18 decimals."""


class InputUnusable(ClaireError):
    """What somebody gave (a file, a folder, an option, an address) cannot be used; the text names it and the fix."""


class SettingsInvalid(InputUnusable):
    """One or more settings are wrong. The text lists every mistake with its fix."""


class FeedInputInvalid(InputUnusable):
    """A recorded file cannot be used; the text names the file, the line, the value and the fix."""


class ExchangeUnreachable(ClaireError):
    """An exchange gave no answer that can be read (time-out, cut, 5xx, HTML): nothing is known of what was asked."""


class ExchangeAnswerInvalid(ExchangeUnreachable):
    """An exchange's answer lacks a field or has a value that cannot be; the text names both."""


class ExchangeHistoryTooLong(ExchangeAnswerInvalid):
    """An exchange's record of what happened is longer than it can be asked for; the text names what, and the bound."""


class ExchangeRefused(ClaireError):
    """An exchange answered with an error.

    Attributes:
        code: the exchange's own error code as text.
    """

    def __init__(self, code: str, message: str) -> None:
        """Keep the code beside a message that holds no key and no signature."""
        super().__init__(f"{code}: {message}")
        self.code = code


class SandboxRefusal(ClaireError):
    """The sandbox exchange refuses a request as MEXC would.

    Attributes:
        code: MEXC's error code.
        status: HTTP status of the answer; the perpetual interface answers 200 and says it in the body.
        retry_after: seconds for the header Retry-After of 429 and 418.
    """

    def __init__(self, code: int, message: str, *, status: int = 400, retry_after: int | None = None) -> None:
        """Keep what the answer consists of."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class JournalError(ClaireError):
    """Something is wrong with the journal or with this service's place in it."""


class JournalHole(JournalError):
    """Events between two journal ids are gone from the stream and from the archive, or something else stands there."""


class JournalClosed(JournalError):
    """The writer has not opened the bus since Redis started."""


class FenceLost(JournalError):
    """A newer instance of this service holds the lease; this one must exit."""


class LeaseHeld(JournalError):
    """Another living instance of this service holds the lease; this one must exit."""


class PublishRefused(JournalError):
    """The journal is short of memory and does not admit this class of event now."""


class PublishRejected(JournalError):
    """The publish script refused the batch for a reason that a retry cannot cure."""


class StateMismatch(ClaireError):
    """A snapshot contradicts its checksum, its configuration or the journal."""


class StoreError(ClaireError):
    """PostgreSQL content contradicts the journal: chain, cursor or lock."""


class IllegalTransition(ClaireError):
    """A state machine was asked for a transition that does not exist."""
