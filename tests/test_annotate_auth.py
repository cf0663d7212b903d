"""Passwords, tokens, invites, logins, and how often one may try."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from annotate_desk import Desk, invite_for, logged_in, new_client
from argon2 import PasswordHasher
from starlette.testclient import TestClient
from xai_bench_annotations.server import auth
from xai_bench_annotations.server.auth import Passwords, digest, new_invite, new_token, set_password
from xai_bench_annotations.server.readers import add_reader, admin_invite, deactivate, invite, reader_named
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.secret import folder_secret
from xai_bench_annotations.server.tables import Credential, Login, Reader, now
from xai_bench_annotations.server.throttle import OF_ADDRESS, OF_NAME, Throttle

from xai_bench.errors import BadInput

GOOD = "correct horse"
SESSION = "/api/v1/session"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk.make(tmp_path_factory.mktemp("desk"), films=1)
    with desk.database.writing() as session:
        anna = reader_named(session, "anna")
        assert anna
        set_password(session, anna, desk.app.state.passwords.hash(GOOD))
    return desk


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    """The shared desk, with nobody's attempts counted."""
    shared.app.state.throttle = Throttle()
    yield shared


def log_in(desk: Desk, **body: Any) -> Any:
    return new_client(desk.app).post(SESSION, json=body)


def me(client: TestClient) -> int:
    return client.get("/api/v1/me").status_code


def test_a_password_lets_in_whatever_the_case_of_the_name(desk: Desk) -> None:
    for name in ("anna", "Anna"):
        answer = log_in(desk, name=name, password=GOOD)
        assert answer.status_code == 200 and answer.json()["name"] == "anna"
    assert log_in(desk, name="anna", password=GOOD + "r").status_code == 401


def test_unknown_names_and_wrong_passwords_answer_alike_after_the_same_work(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    verify, hash_ = PasswordHasher.verify, PasswordHasher.hash

    def counted(self: PasswordHasher, hashed: str, password: str) -> Any:
        done.append("verify " + hashed[: hashed.index("$", 20)])
        return verify(self, hashed, password)

    def counted_hash(self: PasswordHasher, password: str) -> str:
        done.append("hash")
        return hash_(self, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    monkeypatch.setattr(PasswordHasher, "hash", counted_hash)
    work = {}
    for name in ("anna", "ben", "nobody", "sn\u00f6"):  # with a password, without one, unknown, impossible
        done.clear()
        answer = log_in(desk, name=name, password="wrong password")
        work[name] = (answer.status_code, answer.text, tuple(done))
    assert len(set(work.values())) == 1
    assert work["anna"][0] == 401 and len(work["anna"][2]) == 1


def test_a_stolen_database_without_the_secret_opens_nothing(desk: Desk) -> None:
    hashed = desk.app.state.passwords.hash(GOOD)
    assert desk.app.state.passwords.check(GOOD, hashed)
    assert not Passwords(b"another secret").check(GOOD, hashed)
    with pytest.raises(Exception, match="does not match"):
        PasswordHasher().verify(hashed, GOOD)


def test_a_password_typed_on_another_keyboard_is_the_same(desk: Desk) -> None:
    passwords = desk.app.state.passwords
    assert passwords.check("cafe\u0301 au lait", passwords.hash("caf\u00e9 au lait"))


def test_weaker_hashes_are_replaced_when_their_password_is_next_used(desk: Desk) -> None:
    passwords = desk.app.state.passwords
    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash(passwords._mixed(GOOD))
    with desk.database.writing() as session:
        carl = add_reader(session, "carl")
        set_password(session, carl, weak)
    assert log_in(desk, name="carl", password=GOOD).status_code == 200
    with desk.database.reading() as session:
        kept = session.query(Credential).filter_by(reader_id=carl.id, revoked=None).one().hash
    assert kept != weak and not passwords.is_old(kept)
    assert log_in(desk, name="carl", password=GOOD).status_code == 200


def test_only_digests_of_random_secrets_are_stored(desk: Desk) -> None:
    invite = invite_for(desk.database, "ben")
    client = logged_in(desk.app, invite)
    with desk.database.engine.connect() as connection:
        stored = "".join(map(str, connection.exec_driver_sql("SELECT hash, kind FROM credential").all()))
        logins = "".join(map(str, connection.exec_driver_sql("SELECT * FROM login").all()))
    cookie = client.cookies["xai_session"]
    assert invite not in stored and digest(invite) in stored
    assert cookie not in logins and digest(cookie) in logins


def test_an_invite_works_once_and_may_set_a_password(desk: Desk) -> None:
    with desk.database.writing() as session:
        dora = add_reader(session, "dora")
        first, second = new_invite(session, dora), new_invite(session, dora)
    assert log_in(desk, invite=first).status_code == 401  # the later one replaces it
    assert log_in(desk, invite=second, password="short").status_code == 422  # not used up by a mistake
    assert log_in(desk, invite=second, password=GOOD).status_code == 200
    assert log_in(desk, invite=second).status_code == 401
    assert log_in(desk, name="dora", password=GOOD).status_code == 200


def test_an_invite_used_at_the_same_time_works_once(desk: Desk) -> None:
    invite, codes = invite_for(desk.database, "ben"), []
    barrier = threading.Barrier(4)

    def use() -> None:
        client = new_client(desk.app)
        barrier.wait()
        codes.append(client.post(SESSION, json={"invite": invite}).status_code)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 401, 401, 401]


def test_a_new_password_ends_the_old_one_and_its_logins(desk: Desk) -> None:
    with desk.database.writing() as session:
        set_password(session, add_reader(session, "eve"), desk.app.state.passwords.hash(GOOD))
    old = new_client(desk.app)
    assert old.post(SESSION, json={"name": "eve", "password": GOOD}).status_code == 200 == me(old)
    link = invite_for(desk.database, "eve")
    assert log_in(desk, invite=link, password="another password").status_code == 200
    assert me(old) == 401
    assert log_in(desk, name="eve", password=GOOD).status_code == 401
    assert log_in(desk, name="eve", password="another password").status_code == 200


def test_a_token_works_until_it_is_replaced(desk: Desk) -> None:
    with desk.database.writing() as session:
        ben = reader_named(session, "ben")
        assert ben
        first = new_token(session, ben)
    assert log_in(desk, token=first).status_code == log_in(desk, token=first).status_code == 200
    assert log_in(desk, invite=first).status_code == 401  # each is of its own kind
    with desk.database.writing() as session:
        second = new_token(session, ben)
    assert (log_in(desk, token=first).status_code, log_in(desk, token=second).status_code) == (401, 200)


def test_who_was_removed_gets_no_token(desk: Desk) -> None:
    with desk.database.writing() as session:
        ben = reader_named(session, "ben")
        assert ben
        deactivate(session, ben)
        with pytest.raises(Refusal, match="ben is deactivated"):
            new_token(session, ben)
        session.rollback()


@pytest.mark.parametrize("kind", ["invite", "token"])
def test_links_and_tokens_expire(desk: Desk, kind: str) -> None:
    with desk.database.writing() as session:
        ben = reader_named(session, "ben")
        assert ben
        text = new_invite(session, ben) if kind == "invite" else new_token(session, ben)
        session.query(Credential).filter_by(hash=digest(text)).update({"expires": now() - timedelta(seconds=1)})
    assert log_in(desk, **{kind: text}).status_code == 401


def test_logins_end_by_logging_out_by_time_and_by_revocation(desk: Desk) -> None:
    clients = [logged_in(desk.app, invite_for(desk.database, "ben")) for _ in range(4)]
    assert [me(c) for c in clients] == [200] * 4
    cookie = clients[0].cookies["xai_session"]
    assert clients[0].delete(SESSION).status_code == 204
    clients[0].cookies.set("xai_session", cookie)  # kept by a thief
    with desk.database.writing() as session:
        for client, change in ((clients[1], {"expires": now()}), (clients[2], {"revoked": now()})):
            row = session.query(Login).filter_by(id=digest(client.cookies["xai_session"]))
            assert row.one().expires - row.one().created == pytest.approx(auth.LOGIN, abs=timedelta(seconds=5))
            row.update(change)  # type: ignore[arg-type]  # keys are column names
    assert [me(c) for c in clients] == [401, 401, 401, 200]


def test_logging_in_again_ends_the_login_before(desk: Desk) -> None:
    client = logged_in(desk.app, invite_for(desk.database, "ben"))
    before = client.cookies["xai_session"]
    assert client.post(SESSION, json={"invite": invite_for(desk.database, "ben")}).status_code == 200
    assert client.cookies["xai_session"] != before
    thief = new_client(desk.app)
    thief.cookies.set("xai_session", before)
    assert me(thief) == 401


def test_who_is_deactivated_is_out_until_invited_again(desk: Desk) -> None:
    with desk.database.writing() as session:
        gus = add_reader(session, "gus")
        link, token = new_invite(session, gus), new_token(session, gus)
        set_password(session, gus, desk.app.state.passwords.hash(GOOD))
    inside = logged_in(desk.app, link)
    with desk.database.writing() as session:
        deactivate(session, session.get_one(Reader, gus.id))
    assert me(inside) == 401
    assert log_in(desk, token=token).status_code == log_in(desk, name="gus", password=GOOD).status_code == 401
    with desk.database.writing() as session:
        again = invite(session, session.get_one(Reader, gus.id))
    assert log_in(desk, invite=again).status_code == 200


def test_five_tries_a_minute_for_a_name_then_even_the_right_password_waits(desk: Desk) -> None:
    clock = [0.0]
    desk.app.state.throttle = Throttle(lambda: clock[0])
    assert [log_in(desk, name="anna", password="wrong").status_code for _ in range(5)] == [401] * 5
    refused = log_in(desk, name="ANNA", password=GOOD)
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "60"
    assert log_in(desk, name="ben", password="wrong").status_code == 401  # another name
    clock[0] = 60.0
    assert log_in(desk, name="anna", password=GOOD).status_code == 200


def test_the_throttle_counts_an_address_too_and_forgets() -> None:
    clock = [0.0]
    throttle = Throttle(lambda: clock[0])
    for n in range(OF_ADDRESS):
        throttle.attempt("10.0.0.1", f"name {n}")
    with pytest.raises(Refusal, match="try again in 60 seconds"):
        throttle.attempt("10.0.0.1", "one more")
    throttle.attempt("10.0.0.2", "one more")
    clock[0] = 61.0
    throttle.attempt("10.0.0.1", "one more")


def test_success_takes_attempts_back() -> None:
    throttle = Throttle(lambda: 0.0)
    for _ in range(OF_ADDRESS + 5):
        throttle.attempt("10.0.0.1", "anna")
        throttle.succeeded("10.0.0.1", "anna")
    for _ in range(OF_NAME):
        throttle.attempt("10.0.0.1", "anna")
    with pytest.raises(Refusal):
        throttle.attempt("10.0.0.1", "anna")


def test_the_throttle_keeps_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_bench_annotations.server.throttle.MANY", 10)
    clock = [0.0]
    throttle = Throttle(lambda: clock[0])
    for n in range(100):
        clock[0] += 61
        throttle.attempt(f"10.0.0.{n}", "anna")
    assert len(throttle._tried) <= 12


@pytest.mark.parametrize("name", ["", "derived", "..", "-x", "a b", "a/b", "a:b", "consensus:majority", "x" * 41, "ä"])
def test_names_that_could_not_stand_in_results_are_refused(desk: Desk, name: str) -> None:
    with pytest.raises(Refusal, match="cannot be used"), desk.database.writing() as session:
        add_reader(session, name)


def test_a_name_is_given_once_and_admin_to_admins_only(desk: Desk) -> None:
    with pytest.raises(Refusal, match="already"), desk.database.writing() as session:
        add_reader(session, "ANNA")
    with pytest.raises(Refusal, match="kept for an admin"), desk.database.writing() as session:
        add_reader(session, "Admin")


def test_the_server_s_first_link_is_for_an_admin_made_or_found(tmp_path: Path) -> None:
    from xai_bench_annotations.server.database import open_database

    database = open_database(tmp_path, create=True)
    for _ in range(2):
        with database.writing() as session:
            admin_invite(session)
    with database.reading() as session:
        assert [(r.name, r.role) for r in session.query(Reader)] == [("admin", "admin")]
        assert session.query(Credential).filter_by(revoked=None).count() == 1
    with database.writing() as session:
        session.query(Reader).one().active = False
        admin_invite(session)
    with database.reading() as session:
        assert session.query(Reader).one().active


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = folder_secret(tmp_path)
    assert len(first) == 32 and folder_secret(tmp_path) == first
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        folder_secret(tmp_path)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "secret").write_text("cut off")
    with pytest.raises(BadInput, match="64 hex digits"):
        folder_secret(tmp_path)
