"""The few ways in which a run may end early: one line for the user, an exit code for the shell."""


class RunError(Exception):
    """The run failed: NaN, disk, data, a damaged checkpoint. The text says what is wrong and what to do."""

    exit_code = 1


class BadRequest(RunError):
    """The request cannot be met: an unknown name, a value out of range, an unusable folder. No file was made yet."""

    exit_code = 2


class InUse(RunError):
    """Another process holds the run folder (``EX_TEMPFAIL``)."""

    exit_code = 75


class Diverged(RunError):
    """The loss or a parameter is no longer finite."""


class Stopped(RunError):
    """A signal asked the run to stop: 130 after SIGINT, 143 after SIGTERM."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type["Stopped"], tuple[str, int]]:
        return Stopped, (str(self), self.signal_number)
