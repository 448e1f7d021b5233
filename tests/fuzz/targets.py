"""All targets of fuzzing by name."""

from tests.fuzz import configuring, reading, saved, serving
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    "files": reading.FILES,
    "features": reading.FEATURES,
    "settings": configuring.SETTINGS,
    "overrides": configuring.OVERRIDES,
    "spaces": configuring.SPACES,
    "damage": saved.DAMAGE,
    "tampered": saved.TAMPERED,
    "journal": saved.JOURNAL,
    "records": saved.RECORDS,
    "http": serving.HTTP,
}
