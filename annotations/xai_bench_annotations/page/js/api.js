/** The server's REST interface. An answer that never came is Unreachable; a refusal is Refused, with its sentence. */

export class Unreachable extends Error {}

export class Refused extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(typeof body?.error === "string" ? body.error : `The server answered ${status}.`);
    [this.status, this.body] = [status, body];
  }
}

export class Api {
  /** @param {typeof fetch} send @param {string} root */
  constructor(send = (...all) => fetch(...all), root = "/api/v1") {
    [this.send, this.root] = [send, root];
    [this.csrf, this.reader] = ["", ""];
  }

  /** From now on this login is used. @param {{id: string, csrf: string}} me */
  enter(me) {
    [this.csrf, this.reader] = [me.csrf, me.id];
  }

  /** @param {string} path */
  get(path) {
    return this.call("GET", path);
  }

  /**
   * @param {string} method @param {string} path @param {any} [body] @param {Record<string, string>} [headers]
   * @returns {Promise<any>} the answer's JSON
   */
  async call(method, path, body, headers = {}) {
    const used = this.csrf;
    const response = await this.#answer(method, path, body, headers);
    const text = await arrived(response.text());
    let json = null;
    try {
      json = text ? JSON.parse(text) : null;
    } catch {
      throw new Unreachable(`something between here and the server answered ${response.status} with a page`);
    }
    if (response.status === 403 && method !== "GET" && (await this.#enteredAnew(used))) return this.call(method, path, body, headers);
    if (!response.ok) throw new Refused(response.status, json);
    return json;
  }

  /** Whether the same reader has logged in again since, in another tab; another reader's login is none. @param {string} used */
  async #enteredAnew(used) {
    if (!this.reader) return false;
    const me = await this.get("/me");
    if (me.id !== this.reader) throw new Refused(401, { error: "Somebody else has logged in in this browser." });
    this.enter(me);
    return me.csrf !== used;
  }

  /** The stored values of a film, row after row. @param {{id: string, width: number, height: number}} image */
  async pixels(image) {
    const response = await this.#answer("GET", `/images/${image.id}/pixels`);
    if (!response.ok) throw new Refused(response.status, null);
    const bytes = await arrived(response.arrayBuffer());
    if (bytes.byteLength !== 2 * image.width * image.height) throw new Unreachable("the film arrived incomplete");
    return new Uint16Array(bytes);
  }

  /** A file as the raw body. @param {string} path @param {Blob} file @returns {Promise<any>} */
  upload(path, file) {
    return this.call("POST", path, file, { "Content-Type": "application/octet-stream" });
  }

  /** @param {string} method @param {string} path @param {any} [body] @param {Record<string, string>} [headers] */
  async #answer(method, path, body, headers = {}) {
    const all = { Accept: "application/json", ...(method === "GET" ? {} : { "X-CSRF": this.csrf, "Content-Type": "application/json" }), ...headers };
    const sent = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
    const options = { method, headers: all, credentials: "same-origin", body: sent };
    const response = await arrived(this.send(this.root + path, /** @type {any} */ (options)));
    if (response.status >= 500) throw new Unreachable(`the server answered ${response.status}`);
    return response;
  }
}

/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
async function arrived(promise) {
  try {
    return await promise;
  } catch (error) {
    throw new Unreachable(String(error));
  }
}
