/** What an admin does below the films: projects, films, readers, how far everybody is, and what comes out. */
import { ask, button } from "./dialogs.js";
import { counted, h, toast } from "./dom.js";

const FORMATS = [["coco", "COCO"], ["png", "PNG masks"], ["native", "JSON, lossless"]]; // prettier-ignore

export class Admin {
  /** @param {{api: any, project: any, again: () => void}} parts */
  constructor({ api, project, again }) {
    [this.api, this.project, this.again] = [api, project, again];
    this.element = h("section", { class: "admin" }, h("h2", { text: "Administration" }), ...(project ? [this.#progress(), this.#films(), this.#readers(), this.#results()] : []), this.#projects());
  }

  #progress() {
    const { readers } = this.project;
    if (!readers?.length) return h("p", { class: "muted", text: "Nobody reads these films yet." });
    const cell = (/** @type {string | number} */ text) => h("td", { text: String(text) });
    const row = (/** @type {any} */ { name, states }) => h("tr", {}, h("th", { scope: "row", text: name }), cell(states.done), cell(states.in_progress), cell(states.not_started), cell(states.flagged));
    const head = ["Reader", "Done", "In progress", "Not started", "Flagged"].map((text) => h("th", { scope: "col", text }));
    return h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...readers.map(row)));
  }

  #films() {
    const input = h("input", { type: "file", multiple: true, accept: ".png,.jpg,.jpeg,.dcm,.dicom,image/png,image/jpeg,application/dicom", id: "add-films" });
    input.addEventListener("change", () => this.#upload([...input.files]));
    this.uploaded = h("p", { class: "muted", role: "status" });
    return this.#part("Films", "PNG, JPEG or DICOM. Afterwards give them to the readers.", input, this.uploaded);
  }

  /** @param {File[]} files */
  async #upload(files) {
    const refused = [];
    for (const [i, file] of files.entries()) {
      this.uploaded.textContent = `Adding ${i + 1} of ${files.length} …`;
      await this.api.upload(`/projects/${this.project.id}/images`, file).catch((/** @type {Error} */ error) => refused.push(`${file.name}: ${error.message}`));
    }
    if (refused.length) await ask("refused", `${counted(refused.length, "file")} not added`, [h("ul", {}, ...refused.map((text) => h("li", { text })))], (close) => [button("Close", () => close(null), "primary")]);
    this.again();
  }

  #readers() {
    const name = h("input", { placeholder: "a pseudonym", "aria-label": "Name of the reader", maxlength: 40, autocapitalize: "none" });
    const add = async () => {
      const made = await this.#try(() => this.api.call("POST", "/readers", { name: name.value.trim(), role: "reader" }));
      if (!made) return;
      await this.#try(() => this.api.call("POST", `/projects/${this.project.id}/readers`, { readers: [made.name] }));
      await this.#showInvite(made);
      this.again();
    };
    const names = (this.project.readers ?? []).map((/** @type {any} */ one) => one.name);
    const give = async () => (await this.#try(() => this.api.call("POST", `/projects/${this.project.id}/readers`, { readers: names }))) && this.again();
    const others = names.length ? button("Give new films to all readers", give) : null;
    return this.#part("Readers", "A reader sees only their own work. The invite works once.", h("div", { class: "inline" }, name, button("Add and invite", add, "primary")), others);
  }

  /** @param {{name: string, invite: string}} made */
  #showInvite({ name, invite }) {
    const link = h("input", { readonly: true, value: `${location.origin}/?invite=${invite}`, "aria-label": "Invite" });
    link.addEventListener("focus", () => link.select());
    return ask("invite", `Invite for ${name}`, [h("p", { text: "Give this link to the reader. It works once and is not shown again." }), link], (close) => [button("Close", () => close(null), "primary")]);
  }

  #results() {
    const { id } = this.project;
    const links = FORMATS.map(([format, text]) => h("a", { class: "chip", href: `/api/v1/projects/${id}/export?format=${format}`, download: true, text }));
    return this.#part("Results", "Consensus and agreement count films that everybody has read.", h("div", { class: "chips" }, h("a", { class: "chip", href: `/page/results.html?project=${id}`, text: "Consensus and agreement" }), ...links));
  }

  #projects() {
    const name = h("input", { placeholder: "name", "aria-label": "Name of the project", maxlength: 200 });
    const add = async () => {
      const made = await this.#try(() => this.api.call("POST", "/projects", { name: name.value.trim() }));
      if (made) location.hash = `project/${made.id}`;
    };
    return this.#part("New project", "With the labels of the spine; other labels by the command line.", h("div", { class: "inline" }, name, button("Make it", add)));
  }

  /** @param {string} title @param {string} text @param {...(Node | null)} content */
  #part(title, text, ...content) {
    return h("div", { class: "part" }, h("h3", { text: title }), h("p", { class: "muted", text }), ...content);
  }

  /** @template T @param {() => Promise<T>} act @returns {Promise<T | null>} */
  async #try(act) {
    try {
      return await act();
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
      return null;
    }
  }
}
