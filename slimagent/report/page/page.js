// The page: what is shown, and how one gets there. Every text goes through textContent.

const ROWS = 40, RESULTS = 30, LARGEST = 6;
const $ = (id) => document.getElementById(id);

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// How much of a node stays, as a bar in the colours of the picture.
function bar(image, node) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "bar");
  const whole = image.bytes(node);
  let done = 0;
  FATES.forEach((fate, at) => {
    const width = whole ? (100 * image.by[at][node]) / whole : 0;
    if (!width) return;
    const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ x: done, y: 0, width, height: 8, class: fate })) part.setAttribute(key, value);
    svg.append(part);
    done += width;
  });
  return svg;
}

class Page {
  static texts = { size, share, word };

  constructor(image) {
    this.image = image;
    this.node = 0;
    this.view = "before";
    this.picture = new Picture($("map"), image, {
      open: (node, how) => this.open(node, how),
      hover: (node) => this.hover(node),
      look: (node) => this.look(node),
    });
    for (const each of document.querySelectorAll("input[name=view]")) {
      each.addEventListener("change", () => {
        this.view = each.value;
        this.render();
      });
    }
    let waiting = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.search(), 120);
    });
    $("search").addEventListener("keydown", (event) => {
      const first = $("results").querySelector("button");
      if (event.key === "Enter") this.search();
      else if (event.key === "ArrowDown" && first) first.focus();
      else return;
      event.preventDefault();
    });
    $("results").addEventListener("keydown", (event) => this.arrows(event));
    this.render();
  }

  // Show a node. A file is shown in the directory that holds it.
  open(node, how) {
    const leaf = !this.image.children[node].length;
    clearTimeout(this.picture.resting);
    this.chosen = node;
    const shown = leaf ? this.image.up(node) : node;
    if (shown !== this.node) {
      this.node = shown;
      this.rows = ROWS;
      this.render();
      if (how === "tile") this.picture.enter();
      if (how === "row") $("contents").querySelector("button")?.focus();
      if (how === "search") $("here").scrollIntoView({ block: "nearest" });
    } else this.explain();
    if (how === "box") ($("inside-list").querySelector("button") ?? $("box")).focus();
    $("said").textContent = `${this.image.title(node)}: ${size(this.image.bytes(node))}, `
      + `${size(this.image.bytes(node, "after"))} of it stays`;
  }

  render() {
    this.crumbs();
    this.picture.show(this.node, this.view);
    this.contents();
    this.explain();
    this.hover(-1);
    const { image, node, view } = this;
    const words = { before: "in the image", after: "in the slim image", gone: "that goes" };
    const empty = !image.bytes(node, view);
    $("map").classList.toggle("empty", empty);
    $("map").setAttribute("aria-label", `Picture of ${image.title(node)}: ${size(image.bytes(node, view))} ${words[view]}`);
  }

  crumbs() {
    const ways = [];
    for (let node = this.node; node >= 0; node = this.image.up(node)) ways.unshift(node);
    $("crumbs").replaceChildren(...ways.map((node) => {
      const item = element("li");
      if (node === this.node) item.append(element("span", this.image.name(node), { "aria-current": "location" }));
      else {
        const button = element("button", this.image.name(node), { type: "button" });
        button.addEventListener("click", () => this.open(node, "crumb"));
        item.append(button);
      }
      return item;
    }));
  }

  contents() {
    const { image, node, view } = this;
    const all = image.ordered(node, view).filter((each) => image.bytes(each, view) || image.sort(each) === PACKAGE);
    const most = this.rows ?? ROWS;
    $("what").textContent = `What is in ${image.title(node)}`;
    $("contents").replaceChildren(...all.slice(0, most).map((each) => {
      const row = element("tr"), head = element("th", "", { scope: "row" });
      const button = element("button", image.name(each), { type: "button" });
      button.addEventListener("click", () => this.open(each, "row"));
      head.append(button);
      const parts = element("td", "", { class: "wide" });
      parts.append(bar(image, each));
      const before = image.bytes(each), after = image.bytes(each, "after");
      row.append(head, parts, element("td", size(before), { class: "number" }), element("td", size(after), { class: "number" }),
        element("td", number(image.files[each]), { class: "number wide" }));
      return row;
    }));
    $("more").hidden = all.length <= most;
    $("more").textContent = `Show all ${number(all.length)}`;
    $("more").onclick = () => {
      this.rows = Infinity;
      this.contents();
    };
  }

  hover(node) {
    const { image } = this;
    const shown = node < 0 ? this.node : node;
    const fate = image.fate(shown);
    $("under").textContent = `${image.title(shown)} · ${size(image.bytes(shown, this.view))}`
      + (fate < 0 ? "" : ` · ${image.raw.words[fate]}`);
  }

  // Show a node of the picture in the box, without opening it.
  look(node) {
    this.chosen = node;
    this.explain();
  }

  // The node in the box, the chosen one or else the one that is shown: what it is, and why it stays or goes.
  explain() {
    const { image } = this;
    const inside = this.chosen !== undefined && (this.chosen === this.node || image.up(this.chosen) === this.node);
    const node = inside ? this.chosen : this.node;
    const said = image.explanation(node);
    const rows = [];
    const row = (key, value) => rows.push(element("dt", key), element("dd", value));
    $("why-what").textContent = said.what;
    $("why-word").textContent = { keep: "stays", drop: "goes", "": "" }[said.verdict];
    $("why-word").className = said.verdict;
    const kept = said.kept > 0 && said.kept < said.size ? `, ${size(said.kept)} of it stays` : "";
    row("Size", `${size(said.size)}${kept}`);
    if (!said.verdict) {
      const stays = image.bytes(node, "after");
      row("Stays", `${size(stays)}, ${share(stays, said.size)}`);
      row("Goes", `${size(said.size - stays)}, ${share(said.size - stays, said.size)}`);
    }
    if (image.children[node].length) row("Files", number(image.files[node]));
    if (said.verdict) row("Level", said.level);
    if (said.symbols) row("Symbols", said.symbols);
    if (said.owners.length) row("Owner", said.owners.join(", "));
    $("why-facts").replaceChildren(...rows);
    $("why-chain").replaceChildren(...said.chain.map(([what, sentence], depth) =>
      element("li", depth ? `because ${what}: ${sentence}` : sentence)));
    $("why-cost").textContent = said.cost;
    $("why-bar").replaceChildren(...(image.children[node].length ? [bar(image, node)] : []));
    this.inside(node);
  }

  // The largest that the node in the box holds, and a way into it.
  inside(node) {
    const { image } = this;
    const all = image.ordered(node, this.view).filter((each) => image.bytes(each, this.view));
    $("inside").hidden = !all.length;
    $("inside-title").textContent = all.length > LARGEST ? `The largest of ${number(all.length)} in it` : "In it";
    $("inside-list").replaceChildren(...all.slice(0, LARGEST).map((each) => {
      const item = element("li"), button = element("button", "", { type: "button" });
      const stays = `, ${size(image.bytes(each, "after"))} of ${size(image.bytes(each))} stays`;
      button.append(element("span", image.name(each)), element("span", size(image.bytes(each, this.view)), { class: "number" }),
        element("span", stays, { class: "unseen" }), bar(image, each));
      button.addEventListener("click", () => this.open(each, "box"));
      item.append(button);
      return item;
    }));
    $("enter").hidden = node === this.node || !all.length;
    $("enter").textContent = `Open ${image.name(node)}`;
    $("enter").onclick = () => this.open(node, "box");
  }

  search() {
    const { image } = this;
    const text = $("search").value;
    const { found, near } = image.search(text);
    const shown = (found.length ? found : near).slice(0, RESULTS);
    $("results").replaceChildren(...shown.map((node) => {
      const item = element("li");
      const button = element("button", "", { type: "button" });
      button.append(element("span", image.title(node)), element("span", size(image.bytes(node)), { class: "number" }));
      button.addEventListener("click", () => this.open(node, "search"));
      item.append(button);
      return item;
    }));
    if (!text.trim()) $("count").textContent = "";
    else if (found.length) $("count").textContent = `${number(found.length)} found${found.length > RESULTS ? `, the largest ${RESULTS} of them here` : ""}`;
    else if (near.length) $("count").textContent = `Not by name; files below ${size(image.raw.atLeast)} are counted in their directory`;
    else $("count").textContent = "Nothing found";
  }

  arrows(event) {
    const all = [...$("results").querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    if (event.key === "ArrowDown") all[at + 1]?.focus();
    else if (event.key === "ArrowUp") (all[at - 1] ?? $("search")).focus();
    else if (event.key === "Escape") $("search").focus();
    else return;
    event.preventDefault();
  }
}

const data = $("data");
if (data) {
  unpacked(data.textContent).then((raw) => {
    data.remove();
    $("picture").hidden = false;
    globalThis.slimagent = new Page(new Image(raw)); // for whoever looks in with the browser's tools, and for the tests
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }).catch((error) => {
    $("failed").hidden = false;
    $("failed").textContent = `The picture cannot be drawn in this browser: ${error.message}. The tables below say the same.`;
  });
}
