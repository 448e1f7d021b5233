"""Exit codes of a command: invalid input and exhausted machines are one line on stderr."""

import os
import sys
from collections.abc import Callable

from hydra.errors import HydraException
from jax.errors import JaxRuntimeError
from omegaconf.errors import OmegaConfBaseException

from jaxrec.atomic_files import ADVICE
from jaxrec.config import explain
from jaxrec.errors import InputError, first_line

OUT_OF_MEMORY = (
    "out of memory: decrease trainer.batch_size, model.embedding_dim, sweep.population, the number of seeds or "
    "workers, or the history length of the model"
)

DENIED = "permission denied; change the permissions of the path or of a folder above it, or name another path"


def exit_code_of(main: Callable[[], int | None]) -> int:
    """Run a command and return its exit code, 0 by default; errors of the user and of the machine are printed."""
    try:
        return main() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"error: {OUT_OF_MEMORY} ({error or 'host memory'})", file=sys.stderr)
        return 2
    except JaxRuntimeError as error:
        from jaxrec.backend import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print(f"error: {OUT_OF_MEMORY} ({first_line(error)})", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader closed the pipe, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again on exit
        return 141
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        # Of what is written, `write_atomic` tells; permissions are missing for what is read, too.
        advice = DENIED if isinstance(error, PermissionError) else ADVICE[error.errno]
        print(f"error: {error.filename or 'a file'}: {advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
