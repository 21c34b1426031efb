// The picture: a squarified treemap. A canvas has the colours of all that is small; what can be opened is a button.

const HEADER = 24, INNER = 17, GAP = 3, MOST = 120, SMALLEST = 5;
const RESTS = 150; // milliseconds until a pointer rests on a tile

const LABEL = "650 13.2px system-ui, sans-serif"; // at least as wide as page.css makes a label

// As much of a text as there is room for: cut after a character, and marked.
function shortened(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  const letters = Array.from(text);
  let fits = 0, more = letters.length;
  while (fits < more - 1) {
    const middle = (fits + more) >> 1;
    if (pen.measureText(`${letters.slice(0, middle).join("")}…`).width <= room) fits = middle;
    else more = middle;
  }
  return fits ? `${letters.slice(0, fits).join("")}…` : "";
}

class Picture {
  constructor(holder, image, act) {
    this.holder = holder;
    this.image = image;
    this.act = act; // open(node, how), hover(node), look(node): what a click would open
    this.canvas = holder.querySelector("canvas");
    this.node = 0;
    this.view = "before";
    this.hits = [];
    new ResizeObserver(() => this.draw()).observe(holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    holder.addEventListener("pointermove", (event) => act.hover(this.at(event)));
    holder.addEventListener("pointerleave", () => act.hover(-1));
    holder.addEventListener("keydown", (event) => this.key(event));
  }

  show(node, view) {
    this.node = node;
    this.view = view;
    this.draw();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.holder.animate([{ opacity: 0.35 }, { opacity: 1 }], { duration: 180, easing: "ease-out" });
    }
  }

  draw() {
    const width = this.holder.clientWidth, height = this.holder.clientHeight;
    if (!width || !height) return;
    const scale = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = { fates: FATES.map(colour), ink: colour("ink"), strip: colour("strip"), back: colour("back") };
    this.pen = this.canvas.getContext("2d");
    this.pen.scale(scale, scale);
    this.pen.fillStyle = this.colours.back;
    this.pen.fillRect(0, 0, width, height);
    this.hits = [];
    const tiles = this.layout(this.node, 0, 0, width, height, MOST);
    for (const tile of tiles) this.paint(tile);
    this.buttons(tiles);
  }

  // The children of a node as rectangles. What is too small to be seen is one rectangle without a node.
  layout(node, x0, y0, x1, y1, most) {
    const { image, view } = this;
    const whole = image.bytes(node, view);
    const area = (x1 - x0) * (y1 - y0);
    if (!whole || area <= 0) return [];
    const children = [];
    let rest = whole;
    for (const each of image.ordered(node, view)) {
      const value = image.bytes(each, view);
      if (!value) break;
      if (children.length >= most || (value / whole) * area < SMALLEST) break;
      children.push({ node: each, value });
      rest -= value;
    }
    if (rest > 0) children.push({ node: -1, value: rest, of: node, shown: children.map((each) => each.node) });
    d3.treemapSquarify({ value: whole, children }, x0, y0, x1, y1);
    return children;
  }

  paint(tile) {
    const open = [{ ...tile, depth: 0 }];
    while (open.length) {
      const each = open.pop();
      const gap = each.depth === 0 ? GAP : each.depth === 1 ? 1 : 0.5;
      const box = { x0: each.x0 + gap / 2, y0: each.y0 + gap / 2, x1: each.x1 - gap / 2, y1: each.y1 - gap / 2 };
      const width = box.x1 - box.x0, height = box.y1 - box.y0;
      if (width <= 0 || height <= 0) continue;
      if (each.node < 0) {
        this.fill(box, this.others(each));
        continue;
      }
      this.hits.push({ ...box, node: each.node });
      const headed = this.head(each, box, width, height);
      const inner = headed ? { ...box, y0: box.y0 + headed } : box;
      const parts = this.image.children[each.node].length;
      if (!parts || (inner.x1 - inner.x0) * (inner.y1 - inner.y0) < 40) {
        this.fill(inner, this.image.by.map((column) => column[each.node]));
        continue;
      }
      for (const part of this.layout(each.node, inner.x0, inner.y0, inner.x1, inner.y1, 2000)) {
        open.push({ ...part, depth: each.depth + 1 });
      }
    }
  }

  // The name of what is not a button, where there is room. Returns the height of the strip that names it.
  head(each, box, width, height) {
    if (each.depth === 0) return width > 46 && height > HEADER + 14 ? HEADER : 0;
    const [least, lowest] = each.depth === 1 ? [58, INNER + 16] : [130, 80];
    if (each.depth > 2 || width < least || height < lowest) return 0;
    const { pen, colours } = this;
    pen.fillStyle = colours.strip;
    pen.fillRect(box.x0, box.y0, width, INNER);
    pen.fillStyle = colours.ink;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillText(shortened(pen, this.image.name(each.node), width - 9), box.x0 + 5, box.y0 + INNER / 2 + 0.5);
    return INNER;
  }

  // The bytes by fate of the children that are too small for a rectangle.
  others({ of, shown }) {
    const seen = new Set(shown);
    const sums = FATES.map(() => 0);
    for (const node of this.image.children[of]) {
      if (!seen.has(node)) this.image.by.forEach((column, at) => (sums[at] += column[node]));
    }
    return sums;
  }

  // Slices of a rectangle in the colours of what its bytes become.
  fill({ x0, y0, x1, y1 }, sums) {
    const fates = VIEWS[this.view];
    const whole = fates.reduce((sum, at) => sum + sums[at], 0);
    const across = x1 - x0 >= y1 - y0;
    let done = 0;
    for (const at of fates) {
      if (!sums[at]) continue;
      const from = done / whole, to = (done + sums[at]) / whole;
      this.pen.fillStyle = this.colours.fates[at];
      if (across) this.pen.fillRect(x0 + (x1 - x0) * from, y0, (x1 - x0) * (to - from), y1 - y0);
      else this.pen.fillRect(x0, y0 + (y1 - y0) * from, x1 - x0, (y1 - y0) * (to - from));
      done += sums[at];
    }
  }

  buttons(tiles) {
    const { image, view } = this;
    const again = this.holder.contains(document.activeElement);
    this.holder.querySelectorAll("button").forEach((each) => each.remove());
    this.tiles = tiles.filter((tile) => tile.node >= 0);
    this.tiles.forEach((tile, at) => {
      const button = document.createElement("button");
      const width = tile.x1 - tile.x0 - GAP, height = tile.y1 - tile.y0 - GAP;
      if (width <= 1 || height <= 1) return;
      button.type = "button";
      button.className = "tile";
      Object.assign(button.style, {
        left: `${tile.x0 + GAP / 2}px`, top: `${tile.y0 + GAP / 2}px`, width: `${width}px`, height: `${height}px`,
      });
      button.tabIndex = at === 0 ? 0 : -1;
      button.dataset.node = tile.node;
      const label = document.createElement("span");
      const bytes = size(image.bytes(tile.node, view));
      const named = document.createElement("b");
      named.textContent = image.name(tile.node);
      const weight = document.createElement("span");
      weight.textContent = ` ${bytes}`;
      label.append(named, weight);
      label.className = width > 46 && height > HEADER + 14 ? "label" : "unseen";
      if (label.className === "unseen") button.title = label.textContent;
      this.pen.font = LABEL; // half a size says less than none
      if (this.pen.measureText(label.textContent).width > width - 15) weight.className = "unseen";
      button.append(label);
      const more = document.createElement("span");
      more.className = "unseen";
      more.textContent = `, ${size(image.bytes(tile.node, "after"))} of ${size(image.bytes(tile.node))} stays`;
      button.append(more);
      // A pointer that only passes on its way to the box does not look.
      button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.rest(tile.node));
      button.addEventListener("pointerleave", () => clearTimeout(this.resting));
      button.addEventListener("focus", () => !this.silent && this.act.look(tile.node));
      button.addEventListener("click", (event) => this.act.open(tile.node, event.detail === 0 ? "tile" : "pointer"));
      this.holder.append(button);
    });
    if (again) this.enter();
  }

  rest(node) {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.act.look(node), RESTS);
  }

  // Focus the first tile of what was opened: the box goes on to show what was opened.
  enter() {
    this.silent = true;
    this.focus();
    this.silent = false;
  }

  focus(button = this.holder.querySelector("button")) {
    if (!button) return;
    for (const each of this.holder.querySelectorAll("button")) each.tabIndex = each === button ? 0 : -1;
    button.focus({ preventScroll: true });
  }

  // Arrows go to the nearest tile in their direction; Escape and Backspace go out, Home to the whole image.
  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape" || event.key === "Backspace") {
      if (this.image.up(this.node) >= 0) this.act.open(this.image.up(this.node), "tile");
    } else if (event.key === "Home") this.act.open(0, "tile");
    else if (event.key in ways && document.activeElement.dataset.node) {
      this.step(document.activeElement, ways[event.key]);
    } else return;
    event.preventDefault();
  }

  step(from, [right, down]) {
    const middle = (each) => {
      const box = each.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2, box];
    };
    const [x, y, box] = middle(from);
    let best = null, least = Infinity;
    for (const each of this.holder.querySelectorAll("button")) {
      const [ox, oy, other] = middle(each);
      const ahead = right ? (ox - x) * right : (oy - y) * down;
      if (each === from || ahead <= 1) continue;
      const gap = right
        ? Math.max(0, other.top - box.bottom, box.top - other.bottom) + Math.abs(oy - y) / 8
        : Math.max(0, other.left - box.right, box.left - other.right) + Math.abs(ox - x) / 8;
      if (ahead + 4 * gap < least) [best, least] = [each, ahead + 4 * gap];
    }
    if (best) this.focus(best);
  }

  // The deepest node that was drawn under the pointer.
  at(event) {
    const box = this.holder.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let found = -1;
    for (const each of this.hits) {
      if (x >= each.x0 && x < each.x1 && y >= each.y0 && y < each.y1 && each.node > found) found = each.node;
    }
    return found;
  }
}
