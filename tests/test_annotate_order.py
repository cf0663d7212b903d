"""The order in which readers see films: random, each their own, the same again from the same seed, repeats far away."""

from random import Random

from annotate_desk import fill
from hypothesis import given
from hypothesis import strategies as st
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.order import Turn, further_turns
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.tables import Assignment, Image, Project, Reader

BATCHES = st.lists(st.integers(0, 12), min_size=1, max_size=4)


def grown(batches: list[int], repeats: float, seed: int) -> list[Turn]:
    """A worklist after films came in several batches."""
    turns: list[Turn] = []
    films = 0
    for size in batches:
        new = [f"film {films + n}" for n in range(size)]
        films += size
        turns += further_turns(turns, new, repeats, Random(f"{seed} {len(turns)}"))
    return turns


@given(BATCHES, st.floats(0, 1), st.integers(0, 99))
def test_every_film_once_repeats_once_later_and_never_next(batches: list[int], repeats: float, seed: int) -> None:
    turns = grown(batches, repeats, seed)
    first = {t.film: p for p, t in enumerate(turns) if t.read == 1}
    again = {t.film: p for p, t in enumerate(turns) if t.read == 2}
    assert len(turns) == len(first) + len(again) and len(first) == sum(batches)
    assert all(place - first[film] >= 2 for film, place in again.items())
    assert len(again) <= round(repeats * len(first))


@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 99))
def test_one_batch_has_all_its_repeats_in_its_latter_half(films: int, repeats: float, seed: int) -> None:
    turns = grown([films], repeats, seed)
    again = [p for p, t in enumerate(turns) if t.read == 2]
    assert len(again) == round(repeats * films)
    assert all(p >= len(turns) // 2 for p in again)


def test_repeats_are_spread_and_random_among_early_films() -> None:
    """Over many seeds, every film of the first third is repeated sometimes, at every place of the latter half."""
    chosen, places = set(), set()
    for seed in range(300):
        turns = grown([20], 0.2, seed)
        order = [t.film for t in turns if t.read == 1]
        chosen |= {order.index(t.film) for t in turns if t.read == 2}
        places |= {p for p, t in enumerate(turns) if t.read == 2}
    assert chosen == set(range(8)) and places == set(range(12, 24))


def test_all_orders_are_equally_likely() -> None:
    counts: dict[tuple[str, ...], int] = {}
    for seed in range(600):
        order = tuple(t.film for t in grown([3], 0, seed))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6 and all(60 < count < 140 for count in counts.values())


def test_readers_have_different_orders_which_the_seed_repeats(tmp_path_factory) -> None:  # type: ignore[no-untyped-def]  # pytest's factory
    orders = []
    for _ in range(2):
        database = open_database(tmp_path_factory.mktemp("desk"), create=True)
        fill(database, 12, 0.25)
        with database.reading() as session:
            query = session.query(Reader.name, Image.number, Assignment.read).select_from(Assignment)
            rows = query.join(Reader).join(Image).order_by(Reader.name, Assignment.position).all()
        orders.append([(name, number, read) for name, number, read in rows])
    assert orders[0] == orders[1] and len(orders[0]) == 2 * 15
    anna, ben = ([(number, read) for name, number, read in orders[0] if name == who] for who in ("anna", "ben"))
    assert anna != ben and anna != sorted(anna)


def test_assigning_again_adds_only_what_is_missing(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's folder
    database = open_database(tmp_path, create=True)
    fill(database, 6, 0.5)
    with database.writing() as session:
        project = session.query(Project).one()
        before = {a.id: a.position for a in session.query(Assignment)}
        assert assign(session, project, ["anna", "ben", "anna"]) == 0
        image = session.query(Image).first()
        assert image
        more = {
            c.key: getattr(image, c.key) for c in Image.__table__.columns if c.key not in ("id", "number", "sha256")
        }
        session.add(Image(number=7, sha256="another", **more))
        session.add(Image(number=8, sha256="a third", **more))
        assert assign(session, project, ["anna"]) == 3  # two films and one repeat
        after = {a.id: a.position for a in session.query(Assignment)}
        mine = session.query(Assignment).join(Reader).filter(Reader.name == "anna").order_by(Assignment.position)
        assert [a.position for a in mine] == list(range(1, 13))
    assert before.items() <= after.items()
