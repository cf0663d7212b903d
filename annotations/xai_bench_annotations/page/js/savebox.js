/** The word that says whether the work is safe. Its `data-state` is what tests and styles look at. */
import { h } from "./dom.js";

const WORDS = {
  saved: ["Saved", "Everything is on the server."],
  pending: ["Saving …", "Sent in a moment."],
  saving: ["Saving …", "Being sent."],
  unreachable: ["NOT SAVED", "The server cannot be reached. Your work is kept in this browser and sent as soon as it can be. Click to try now."],
  refused: ["NOT SAVED", "The server refused a drawing."],
  conflict: ["NOT SAVED: decide", "A drawing was changed elsewhere too. Click to decide."],
  "logged-out": ["NOT SAVED: log in", "Your login has ended. Click to log in again; nothing is lost."],
};

export class SaveBox {
  /** @param {() => void} click */
  constructor(click) {
    this.element = h("button", { id: "save", class: "save", "data-state": "saved", on: { click } }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "word", role: "status" }));
    this.show("saved");
  }

  /** @param {string} state @param {string} [why] @param {number} [others] films left unsaved before this one */
  show(state, why = "", others = 0) {
    const quiet = state === "saved" && others > 0;
    const [word, help] = WORDS[/** @type {"saved"} */ (state)];
    this.element.dataset.state = quiet ? "unreachable" : state;
    const text = quiet ? `NOT SAVED: ${others} other ${others > 1 ? "films" : "film"}` : word;
    const box = this.element.querySelector(".word");
    if (box && box.textContent !== text) box.textContent = text;
    this.element.title = quiet ? "Drawings of a film before are kept in this browser and sent as soon as the server can be reached." : why ? `${help} ${why}` : help;
  }
}
