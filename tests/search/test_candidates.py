"""What is proposed: allowed, new, to the last one; and from the folders alone, whatever was killed."""

import json
import random

import keras_tuner
import pytest
from fakes import Session, finish, past, sampler, search

from keras_cnns.dimensions import dimensions
from keras_cnns.models.resnet import ResNet20
from training.errors import UsageError
from training.search import trials as folders
from training.search.cost import Constraints, CostModel
from training.search.objective import Objective, front, parse, weighted_scores
from training.search.oracles import Bayesian, Hyperband, Random

TUNERS = ("random", "bayesian")


def choices(root):
    return [tuple(t.chosen.values()) for t in past(root, search())]


@pytest.mark.parametrize("tuner", TUNERS)
def test_every_choice_once_and_no_more(tmp_path, tuner):
    session = Session(tmp_path, search("depth=1..4,width=8/16", tuner), 20)
    while record := session.ask():
        session.end(record)
    found = past(tmp_path, session.plan)
    assert session.status == "STOPPED"
    assert len({tuple(t.chosen.values()) for t in found}) == len(found) == 8


@pytest.mark.parametrize("tuner", TUNERS)
def test_killed_at_any_time(tmp_path, tuner):
    """Every few steps all is forgotten but the folders; two workers; some trials fail."""
    chance, plan = random.Random(1), search(tuner=tuner)
    ended, open_before = [], set()
    while True:
        session, running = Session(tmp_path, plan, 12), {}
        for _ in range(chance.randrange(1, 5)):
            worker = chance.choice("ab")
            if worker in running:
                record = running.pop(worker)
                session.end(record, "the loss is nan" if chance.random() < 0.3 else "")
                ended.append(int(record.trial_id))
            elif record := session.ask(worker):
                number = int(record.trial_id)
                assert not open_before or number in open_before, "what is open comes first"
                open_before.discard(number)
                running[worker] = record
            elif not running:
                break
        else:
            open_before |= {int(r.trial_id) for r in running.values()}
            continue
        break
    assert sorted(ended) == list(range(12))
    found = past(tmp_path, plan)
    assert len({tuple(t.chosen.values()) for t in found}) == 12
    assert all(t.status != "open" for t in found)


def test_hyperband_goes_on_as_if_nothing_had_happened(tmp_path):
    """The trials of a search that forgets all after each of them are those of one that is never stopped."""
    plan = search("depth=1..6,width=8/16/24/32,gate", "hyperband")
    whole = Session(tmp_path / "whole", plan, None)
    while record := whole.ask():
        whole.end(record)
    broken = Session(tmp_path / "broken", plan, None)
    while record := broken.ask():
        broken.end(record)
        broken = Session(tmp_path / "broken", plan, None)
    rows = [[(t.chosen, t.epochs) for t in past(tmp_path / name, plan)] for name in ("whole", "broken")]
    assert rows[0] == rows[1]
    lengths = [epochs for _, epochs in rows[0]]
    assert {1, 3, 9} <= set(lengths)
    assert lengths.count(1) > lengths.count(3) / 2 > 0


def test_what_the_limits_refuse_is_not_tried(tmp_path):
    session = Session(tmp_path, search("depth=1..6,width=8/16/32", limits=Constraints(params=3_000)), 50)
    while record := session.ask():
        session.end(record)
    found = past(tmp_path, session.plan)
    assert found
    assert all(t.cost["params"] <= 3_000 for t in found)
    assert {t.chosen["width"] for t in found} == {"8", "16"}


def test_what_cannot_be_built_is_not_tried(tmp_path):
    session = Session(tmp_path, search("depth=6/7/8"), 9)
    while record := session.ask():
        session.end(record)
    assert {t.chosen["depth"] for t in past(tmp_path, session.plan)} == {"6", "8"}


def test_two_choices_that_mean_the_same_are_one(tmp_path):
    session = Session(tmp_path, search("gate=none/se,reduction=4/8"), 9)
    while record := session.ask():
        session.end(record)
    assert len(past(tmp_path, session.plan)) == 3


@pytest.mark.parametrize(
    ("space", "limits", "line"),
    [
        (
            "depth=1..6,width=8/16",
            Constraints(params=10),
            r"\(all 12\); the nearest: 192 parameters, more than --max-params 10",
        ),
        ("depth=7", Constraints(), r"\(all 1\); the nearest: cannot be built: seven is no depth"),
        (
            "width=8,recipe.rate=0.01..0.1",
            Constraints(macs=1),
            r"\(\d+ different tries\); the nearest: 57,600 MACs",
        ),
    ],
)
def test_impossible_limits_are_one_line(space, limits, line):
    with pytest.raises(UsageError, match=f"^(no candidate of this space is allowed|found none allowed) {line}"):
        sampler(search(space, limits=limits)).find_allowed()


ONE_OF_558 = Constraints(params=192)  # depth 1, width 8


@pytest.mark.parametrize("seed", range(5))
def test_the_only_one_that_is_allowed_is_found(tmp_path, seed):
    plan = search("depth=1..6,width=8..100", limits=ONE_OF_558, seed=seed)
    sampler(plan).find_allowed()
    session = Session(tmp_path, plan, 3)
    session.end(session.ask())
    assert session.ask() is None
    assert [t.chosen for t in past(tmp_path, plan)] == [{"depth": "1", "width": "8"}]


@pytest.mark.parametrize("space", ["depth=1..6,width=8..100,recipe.rate=0.01..0.1", "depth=1..6,width=8..9000"])
def test_what_is_allowed_is_found_where_nothing_can_be_listed(tmp_path, space):
    plan = search(space, limits=ONE_OF_558)
    sampler(plan).find_allowed()
    session = Session(tmp_path, plan, 3)
    session.end(session.ask())
    (trial,) = past(tmp_path, plan)
    assert (trial.chosen["depth"], trial.chosen["width"]) == ("1", "8")


def test_small_values_come_first_however_they_are_given():
    looked = sampler(search("width=100/8/32,depth=6/1", limits=ONE_OF_558))
    looked.find_allowed()
    assert len(looked.checked) == 1


def test_what_cannot_be_built_does_not_hide_what_can():
    sampler(search("depth=7/7.0/12")).find_allowed()
    sampler(search("width=8/16,depth=7/6", limits=Constraints(params=2_000))).find_allowed()


def test_the_look_for_what_is_allowed_ends(monkeypatch):
    monkeypatch.setattr("training.search.candidates.PATIENCE", 0.0)
    with pytest.raises(
        UsageError, match=r"^found none allowed \(1 different tries\); the nearest: 192 parameters"
    ):
        sampler(search("depth=1..6,width=8..100", limits=Constraints(params=10))).find_allowed()


def test_a_space_without_number(tmp_path):
    plan = search("recipe.rate=0.01..0.1,depth=1..3")
    assert plan.space.size is None
    for count in (3, 6):  # the second start must not draw the first one's again
        session = Session(tmp_path, plan, count)
        while record := session.ask():
            session.end(record)
    rates = [float(t.chosen["recipe.optimizer.rate"]) for t in past(tmp_path, plan)]
    assert len(set(rates)) == 6
    assert all(0.01 <= rate <= 0.1 for rate in rates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the oracle's Gaussian process
def test_bayesian_finds_what_is_good_sooner_than_chance(tmp_path):
    first = {}
    for tuner in TUNERS:
        session = Session(tmp_path / tuner, search("depth=1..12,width=8/16/24/32/40/48", tuner, seed=3), 40)
        tops = []
        while record := session.ask():
            session.end(record)
            tops.append(folders.read(folders.place(session.root, int(record.trial_id))).top1)
        first[tuner] = sum(top > 0.98 for top in tops)
    assert first["bayesian"] > first["random"]


def test_keras_tuner_draws_where_we_think(tmp_path):
    """The one private method that is overridden: the three oracles must have it, and take all chance from it."""
    for ours in (Random, Bayesian, Hyperband):
        assert callable(getattr(ours.__mro__[2], "_random_values", None))
    assert keras_tuner.__version__.startswith("1.4.")
    session = Session(tmp_path, search("depth=1..3", "hyperband"), None)
    session.oracle.sampler.sample = lambda: {"depth": 2, "gate": 0}
    assert session.ask().hyperparameters.values["depth"] == 2


# --- objectives -----------------------------------------------------------------------------------------------


def test_objectives():
    assert parse("accuracy-0.01*params").score(0.9, 2**10) == pytest.approx(0.8)
    assert parse("pareto:latency") == Objective("pareto", "latency_ms")
    assert parse("accuracy").score(0.9, 10**9) == 0.9
    for wrong, line in (
        ("loss", "--objective must be"),
        ("pareto:flops", "no cost 'flops'"),
        ("accuracy-2*macs", "must be accuracy, "),
    ):
        with pytest.raises(ValueError, match=line):
            parse(wrong)


def test_the_front_is_what_nobody_beats():
    chance = random.Random(0)
    points = [(chance.random(), chance.randrange(1, 50)) for _ in range(60)]
    found = front(points)

    def beaten(a):
        return any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in points)

    assert {points[i] for i in found} == {p for p in points if not beaten(p)}
    assert [points[i][1] for i in found] == sorted(points[i][1] for i in found)


def test_weighted_scores_favour_the_front():
    points = [(0.9, 100), (0.5, 10), (0.5, 100), (0.95, 1000), (0.6, 500)]
    winners = set()
    for number in range(50):
        scores = weighted_scores(points, number)
        winners.add(scores.index(max(scores)))
    assert winners <= set(front(points))
    assert len(winners) > 1


def test_a_pareto_search(tmp_path):
    session = Session(tmp_path, search("depth=1..4,width=8/32", "bayesian", objective=Objective("pareto")), 8)
    while record := session.ask():
        session.end(record)
    found = past(tmp_path, session.plan)
    points = [(t.top1, t.cost["macs"]) for t in found]
    assert len(found) == 8
    assert len(front(points)) >= 3


# --- damage ---------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    """Two finished trials and an open one."""
    session = Session(tmp_path, search(), 12)
    for _ in range(2):
        session.end(session.ask())
    session.ask()
    return tmp_path, session.plan


def test_a_damaged_trial_is_written_again_from_the_oracles_copy(three):
    root, plan = three
    before = [(t.chosen, t.cost, t.candidate, t.status) for t in past(root, plan)]
    for number, damage in ((0, b""), (1, b'{"picks": {"dep'), (2, b"[" * 100_000)):
        (folders.place(root, number) / "trial.json").write_bytes(damage)
    said = []
    assert [(t.chosen, t.cost, t.candidate, t.status) for t in past(root, plan, said)] == before
    assert len(said) == 3
    assert all("written again" in line for line in said)


def test_a_damaged_trial_keeps_its_place_though_it_is_slower_now(tmp_path, monkeypatch):
    plan = search("depth=1/2/3", limits=Constraints(latency_ms=5))
    monkeypatch.setattr(CostModel, "_time", lambda self, architecture: 4.0)
    session = Session(tmp_path, plan, 3)
    session.end(session.ask())
    (folders.place(tmp_path, 0) / "trial.json").write_text("{")
    monkeypatch.setattr(CostModel, "_time", lambda self, architecture: 6.0)
    (trial,) = past(tmp_path, plan)
    assert (trial.status, trial.cost["latency_ms"]) == ("done", 6.0)


@pytest.mark.parametrize(
    "picks", [{}, {"depth": 1, "width": 99, "gate": 0}, {"depth": 1, "width": "x", "gate": 0}]
)
def test_a_trial_whose_copy_is_of_no_use_is_put_aside(three, picks):
    root, plan = three
    (folders.place(root, 1) / "trial.json").write_text("{")
    (root / "oracle" / "trial_01" / "trial.json").write_text(json.dumps({"hyperparameters": {"values": picks}}))
    said = []
    assert [t.number for t in past(root, plan, said)] == [0, 2]
    assert "the folder is now" in said[0]


def test_a_trial_that_nothing_knows_is_put_aside_and_another_is_tried(three):
    root, plan = three
    (folders.place(root, 1) / "trial.json").write_text("{")
    (root / "oracle" / "trial_01" / "trial.json").write_text("{")
    said = []
    assert [t.number for t in past(root, plan, said)] == [0, 2]
    assert "the folder is now" in said[0]
    assert len(list((root / "quarantine").glob("0001-*/result.json"))) == 1
    session, numbers = Session(root, plan, 5), []
    while record := session.ask():
        numbers.append(int(record.trial_id))
        session.end(record)
    assert numbers == [2, 3, 4, 5]  # five have a result: 0 and these
    assert len({tuple(t.chosen.values()) for t in past(root, plan)}) == 5


def test_a_damaged_result_opens_the_trial_again(three):
    root, plan = three
    (folders.place(root, 0) / "result.json").write_text('{"finished": tr')
    assert [t.status for t in past(root, plan)] == ["open", "done", "open"]
    finish(folders.place(root, 0), 0.9)
    assert [t.status for t in past(root, plan)] == ["done", "done", "open"]


def test_state_files_of_keras_tuner_do_not_matter(three):
    root, plan = three
    for path in (root / "oracle").rglob("*.json"):
        path.write_text("{")
    session = Session(root, plan, 4)
    assert int(session.ask().trial_id) == 2
    assert int(session.ask("other").trial_id) == 3


def test_weights_of_the_best_only(three):
    root, plan = three
    found = past(root, plan)
    for trial, score in zip(found, (0.5, 0.9, None), strict=True):
        trial.score = score
        (trial.folder / "checkpoints" / "step_00000001").mkdir(parents=True)
        (trial.folder / "model.keras").write_text("weights")
    folders.prune(found, 1)
    assert [t.has_weights() for t in found] == [False, True, True]
    assert [bool(list((t.folder / "checkpoints").glob("step_*"))) for t in found] == [False, False, True]


def test_equal_networks_have_equal_latencies(tmp_path):
    """Measured once, in this start and the next; a limit is asked before anything is trained."""
    plan = search("depth=1/2/3,seed=0/1", limits=Constraints(latency_ms=2.5))
    for count in (2, 9):
        session = Session(tmp_path, plan, count)
        session.oracle.sampler.costs._time = lambda a, n=count: a.row.depths[0] + 0.01 * n
        while record := session.ask():
            session.end(record)
    found = past(tmp_path, plan)
    assert {t.chosen["depth"] for t in found} == {"1", "2"}
    assert len(found) == 4
    assert len({(t.chosen["depth"], t.cost["latency_ms"]) for t in found}) == 2


def test_a_real_latency():
    small, deep = (dimensions(ResNet20)["depth"].put(ResNet20, n) for n in (1, 6))
    sizes = CostModel(8, 3, 10)
    assert 0 < sizes.latency_ms(small) < sizes.latency_ms(deep)
    assert sizes.latency_ms(small) == sizes.latency_ms(small)
