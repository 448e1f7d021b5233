"""Settings of commands other than `train`: a value of the wrong type is an error of one line that names its key."""

import pytest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mine run=r out=5", "out=5: must be a valid string"),
        ("compare a b metric=5", """metric=5: must be a valid string, 'metric="5"'"""),
        (
            "explore data=synthetic hydra.run.dir=x",
            "hydra.run.dir=x has no effect on jaxrec explore: only",
        ),
        ("mine run=null out=m.csv", "run=None: must be a valid string"),
        ("mine run=r out=m.csv ranks=5", "ranks=5: must be a list, e.g. [5]"),
        ("mine run=r out=m.csv ranks=[1,2,3]", "ranks=[1,2,3]: must be a shorter list"),
        ("mine run=r out=m.csv ranks=[1]", "ranks=[1]: must be a longer list"),
        ("mine run=r out=m.csv ranks=[a,b]", "ranks=[a,b]: must be a valid integer"),
        ("mine run=r out=m.csv seed=-1", "seed=-1: must be greater than or equal to 0"),
        ("mine run=r out=m.csv per_user=abc", "per_user='abc': must be a valid integer"),
        ("mine run=r out=m.csv history=no", "history='no': must be a valid boolean"),
        ("compare runs=r", "runs='r': must be a list, e.g. [r]"),
        ("compare runs=null", "runs=None: must be a list"),
        ("compare a b out=5", "out=5: must be a valid string"),
        ("study n=abc", "n='abc': must be a valid integer"),
        ("study trial=3", "trial=3 needs the name of its study: set study=NAME"),
        ("study study=5", "no study called 5 in outputs/sweeps"),
        ("verify target=null", "target=None: must be a valid string"),
        ("explore data=synthetic out=null", "out=None: must be a valid string"),
        ("pipeline run=r out=null", "out=None: must be a valid string"),
        ("benchmark repeats=0", "repeats=0: must be greater than 0"),
        ("serve run=r port=99999", "port=99999: must be less than or equal to 65535"),
        ("serve run=r port=abc", "port='abc': must be a valid integer"),
        ("serve run=r host=null", "host=None: must be a valid string"),
    ],
)
def test_settings_of_the_wrong_type_are_named(command, line, message):
    ended = command(*line.split())
    assert ended.returncode == 2
    assert ended.stderr.strip().startswith(f"error: {message}")
