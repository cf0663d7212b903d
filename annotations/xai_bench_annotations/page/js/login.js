/** The first screen: by name and password, or by an invite from the address bar. */
import { byId, h } from "./dom.js";

/**
 * @param {any} api @param {string | null} invite
 * @returns {Promise<any>} who has logged in
 */
export function logIn(api, invite) {
  return new Promise((resolve) => {
    const error = h("p", { class: "error", role: "alert" });
    const send = async (/** @type {object} */ body) => {
      error.textContent = "";
      try {
        resolve(await api.call("POST", "/session", body));
      } catch (reason) {
        error.textContent = /** @type {Error} */ (reason).name === "Error" && "status" in /** @type {any} */ (reason) ? sentence(/** @type {Error} */ (reason).message) : "The server cannot be reached. Is it running?";
      }
    };
    const show = (/** @type {Node} */ form) => byId("login").replaceChildren(h("div", { class: "box" }, h("img", { class: "logo", src: "/page/icon.svg", alt: "" }), h("h1", { text: "xai-bench annotate" }), form, error));
    const byName = () => show(passwordForm(send));
    if (invite) show(inviteForm(invite, send, error, byName));
    else byName();
    /** @type {HTMLElement | null} */ (byId("login").querySelector("input"))?.focus();
  });
}

/** @param {(body: object) => void} send */
function passwordForm(send) {
  const name = field("Name", { name: "name", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
  const password = field("Password", { name: "password", type: "password", autocomplete: "current-password", required: true });
  return form("Log in", [name, password], () => send({ name: value(name).trim(), password: value(password) }));
}

/** @param {string} invite @param {(body: object) => void} send @param {HTMLElement} error @param {() => void} byName */
function inviteForm(invite, send, error, byName) {
  const first = field("New password (10 or more characters)", { name: "new-password", type: "password", autocomplete: "new-password", minlength: 10, required: true });
  const again = field("The same once more", { name: "again", type: "password", autocomplete: "new-password", required: true });
  const enter = () => {
    if (value(first) === value(again)) send({ invite, password: value(first) });
    else error.textContent = "The two passwords differ.";
  };
  const skip = h("button", { type: "button", class: "quiet", text: "Go in once without a password", on: { click: () => send({ invite }) } });
  const known = h("button", { type: "button", class: "quiet", text: "I have a password already", on: { click: byName } });
  const intro = h("p", { text: "Welcome. Your invite works once; with a password you can come back." });
  return h("div", {}, intro, form("Go in", [first, again], enter), h("div", { class: "others" }, skip, known));
}

/** @param {string} submit @param {HTMLElement[]} fields @param {() => void} act */
function form(submit, fields, act) {
  const element = h("form", {}, ...fields, h("button", { class: "primary large", text: submit }));
  element.addEventListener("submit", (event) => (event.preventDefault(), act()));
  return element;
}

/** @param {string} text @param {object} props */
const field = (text, props) => h("label", {}, h("span", { text }), h("input", props));

/** @param {HTMLElement} label */
const value = (label) => /** @type {HTMLInputElement} */ (label.querySelector("input")).value;

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
