import assert from "node:assert/strict";
import { test } from "node:test";
import { Api, Refused } from "../../annotations/xai_bench_annotations/page/js/api.js";

/** A server whose login is `now`; writes need its csrf. */
function server(now) {
  const calls = [];
  const api = new Api(async (path, { method, headers }) => {
    calls.push(`${method} ${path.replace("/api/v1", "")}`);
    const right = method === "GET" || headers["X-CSRF"] === now.csrf;
    return new Response(JSON.stringify(right ? now : { error: "the header X-CSRF is of another login" }), { status: right ? 200 : 403 });
  });
  return { api, calls };
}

test("a login of the same reader in another tab is taken over", async () => {
  const { api, calls } = server({ id: "anna", csrf: "new" });
  api.enter({ id: "anna", csrf: "old" });
  assert.equal((await api.call("PUT", "/annotations/a", {})).id, "anna");
  assert.deepEqual(calls, ["PUT /annotations/a", "GET /me", "PUT /annotations/a"]);
});

test("nothing is written under the login of somebody else: one is asked to log in again", async () => {
  const { api, calls } = server({ id: "ben", csrf: "new" });
  api.enter({ id: "anna", csrf: "old" });
  await assert.rejects(api.call("PUT", "/annotations/a", {}), (error) => error instanceof Refused && error.status === 401);
  assert.deepEqual(calls, ["PUT /annotations/a", "GET /me"]);
});

test("what this login may not do is refused once", async () => {
  const calls = [];
  const api = new Api(async (path, { method }) => {
    calls.push(method);
    return new Response(JSON.stringify(method === "GET" ? { id: "anna", csrf: "same" } : { error: "only an admin may do this" }), { status: method === "GET" ? 200 : 403 });
  });
  api.enter({ id: "anna", csrf: "same" });
  await assert.rejects(api.call("POST", "/projects", {}), (error) => error.status === 403 && error.message === "only an admin may do this");
  assert.deepEqual(calls, ["POST", "GET"]);
});
