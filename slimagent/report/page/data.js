// The image as columns: what slimagent/report/page/payload.py wrote. Nothing here touches the page.

const FATES = ["used", "kept", "stripped", "cruft", "unused"];
const VIEWS = { before: [0, 1, 2, 3, 4], after: [0, 1], gone: [2, 3, 4] };
const IMAGE = 0, MANAGER = 1, PACKAGE = 2, DIRECTORY = 3, FILE = 4, SMALL = 5;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// A number as Python's format does it: an exact half goes to the even digit.
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  if ((value * 8) % 1 === 0 && scaled % 1 === 0.5) {
    const below = Math.floor(scaled);
    return ((below % 2 ? below + 1 : below) / 10 ** digits).toFixed(digits);
  }
  return value.toFixed(digits);
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const [unit, factor] of [["kB", 1e3], ["MB", 1e6]]) {
    if (Number(fixed(bytes / factor, 1)) < 1000) return `${fixed(bytes / factor, 1)} ${unit}`;
  }
  return `${fixed(bytes / 1e9, 2)} GB`;
}

const number = (count) => count.toLocaleString("en-US");
const counted = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;
const share = (part, whole) => (whole ? `${fixed((100 * part) / whole, 1)} %` : "0.0 %");

// A text as a word for a shell, as Python's shlex.quote does it.
function word(text) {
  if (text && /^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

class Image {
  constructor(raw) {
    this.raw = raw;
    this.count = raw.sort.length;
    this.saved = this.sparse(raw.saved, 0);
    this.files = this.sparse(raw.files, 0);
    raw.sort.forEach((sort, node) => {
      if (sort >= FILE && !this.files[node]) this.files[node] = 1;
    });
    this.cost = new Map(raw.cost[0].map((node, at) => [node, raw.cost[1][at]]));
    this.symbols = new Map(raw.symbols[0].map((node, at) => [node, raw.symbols[1][at]]));
    this.more = new Map(raw.owners);
    this.bases = new Map(raw.base);
    this.addUp();
  }

  sparse([nodes, values], usual) {
    const column = new Float64Array(this.count).fill(usual);
    nodes.forEach((node, at) => (column[node] = values[at]));
    return column;
  }

  // The bytes of each node by fate, and its children. A node comes after the one that holds it.
  addUp() {
    const { sort, up, bytes, reason, fate } = this.raw;
    const { saved } = this;
    this.by = FATES.map(() => new Float64Array(this.count));
    this.children = Array.from({ length: this.count }, () => []);
    for (let node = this.count - 1; node >= 0; node--) {
      if (sort[node] >= FILE) {
        this.by[fate[reason[node]]][node] += bytes[node] - saved[node];
        this.by[2][node] += saved[node];
      }
      if (up[node] < 0) continue;
      for (const column of this.by) column[up[node]] += column[node];
      this.files[up[node]] += this.files[node];
      this.children[up[node]].push(node);
    }
    for (const each of this.children) each.sort((a, b) => this.bytes(b) - this.bytes(a) || a - b);
  }

  bytes(node, view = "before") {
    return VIEWS[view].reduce((sum, fate) => sum + this.by[fate][node], 0);
  }

  // The children of a node, those with the most bytes in a view first.
  ordered(node, view) {
    const children = this.children[node];
    if (view === "before") return children;
    return [...children].sort((a, b) => this.bytes(b, view) - this.bytes(a, view) || a - b);
  }

  sort(node) {
    return this.raw.sort[node];
  }

  up(node) {
    return this.raw.up[node];
  }

  text(at) {
    return at < 0 ? "" : this.raw.texts[at];
  }

  // A node's name among its neighbours.
  name(node) {
    const sort = this.sort(node);
    if (sort === SMALL) return counted(this.files[node], "small file");
    const named = this.text(this.raw.name[node]);
    return sort === MANAGER ? named || "no package" : named;
  }

  // The directory in which the names below a node begin; of a file its whole path.
  path(node) {
    const names = [];
    while (node >= 0 && this.sort(node) >= DIRECTORY) {
      if (this.sort(node) !== SMALL) names.unshift(this.text(this.raw.name[node]));
      node = this.up(node);
    }
    const base = this.text(this.bases.get(node) ?? -1);
    return [base === "/" ? "" : base, ...names].join("/") || "/";
  }

  // A name that means the same wherever it stands.
  title(node) {
    const sort = this.sort(node);
    if (sort === PACKAGE) return `${this.name(this.up(node))}:${this.name(node)}`;
    if (sort === SMALL) return `${this.name(node)} in ${this.path(node)}`;
    return sort >= DIRECTORY ? this.path(node) : this.name(node);
  }

  owner(node) {
    while (node > 0 && this.sort(node) !== PACKAGE) node = this.up(node);
    return node > 0 ? node : -1;
  }

  // Whether all bytes of a node have one fate: its number, else -1.
  fate(node) {
    const those = FATES.map((_, at) => at).filter((at) => this.by[at][node] > 0);
    const whole = those.filter((at) => at !== 2);
    return whole.length === 1 ? whole[0] : -1;
  }

  // What `slimagent explain` says: the same sentences, in the same order.
  explanation(node) {
    const { raw } = this;
    const sort = this.sort(node);
    const owner = this.owner(node);
    const chain = [];
    const seen = new Set();
    const own = owner < 0 ? null : raw.packages[raw.entry[owner]];
    let what = sort === PACKAGE ? this.text(own[0]) : this.title(node);
    const place = sort === PACKAGE && own[1] >= 0 ? ` in ${this.text(own[1])}` : "";
    for (let at = raw.reason[node]; at >= 0 && !seen.has(at); at = raw.next[at]) {
      seen.add(at);
      chain.push([what, this.text(raw.sentence[at])]);
      what = this.text(raw.what[at]);
    }
    const first = raw.reason[node];
    const owners = sort === PACKAGE || owner < 0 ? [] : [own[0], ...(this.more.get(node) ?? [])];
    return {
      what: (sort === PACKAGE ? this.text(own[0]) : this.title(node)) + place,
      verdict: first < 0 ? "" : raw.keeps[first] ? "keep" : "drop",
      chain,
      level: raw.level,
      owners: owners.map((each) => this.text(each)),
      size: sort === PACKAGE ? own[2] : this.bytes(node),
      kept: sort === PACKAGE ? own[3] : 0,
      cost: this.text(this.cost.get(node) ?? -1).replace("\0", () => word(this.path(node))),
      symbols: this.text(this.symbols.get(node) ?? -1),
    };
  }

  // Nodes whose path or name has the text in it, the largest first. `near` is where a file of this path may be counted
  // without a name: the deepest directories on the way to it that hold small files, one for each package that has some.
  search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return { found: [], near: [] };
    this.titles ??= this.raw.sort.map((sort, node) =>
      sort === PACKAGE || (sort >= DIRECTORY && sort !== SMALL) ? this.title(node).toLowerCase() : "",
    );
    const found = [];
    this.titles.forEach((title, node) => title.includes(wanted) && found.push(node));
    const largest = (a, b) => this.bytes(b) - this.bytes(a) || a - b;
    return { found: found.sort(largest), near: found.length ? [] : this.near(wanted).sort(largest) };
  }

  near(wanted) {
    let near = new Set();
    let deepest = 0;
    this.raw.sort.forEach((sort, node) => {
      const path = sort === SMALL ? this.path(node).toLowerCase() : "";
      if (!path || path.length < deepest || !wanted.startsWith(path === "/" ? path : `${path}/`)) return;
      if (path.length > deepest) near = new Set();
      deepest = path.length;
      near.add(this.up(node));
    });
    return [...near];
  }
}
