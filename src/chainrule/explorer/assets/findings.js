// What can be found in a graph: by search, by size of gradient, by what went wrong.

class Findings {
  constructor(graph) {
    this.graph = graph;
  }

  // Nodes that match a text: a name, an operation, a group, or a value such as 0.5, > 10, nan
  search(text) {
    const { graph } = this;
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const matches = this.numberTest(wanted);
    const found = [[], []]; // exact matches first
    for (let i = 0; i < graph.count; i += 1) {
      const words = [names.label(i), graph.symbolOf(i), wanted.includes('›') ? names.place(i) : ''].map((word) => word.toLowerCase());
      if (!graph.isLeaf(i)) words.push(graph.forms[graph.kind[i]].name.toLowerCase());
      else words.push('leaf');
      if (words.includes(wanted)) found[0].push(i);
      else if (words.some((word) => word.includes(wanted))) found[1].push(i);
      else if (matches && matches(graph.value[i])) found[1].push(i);
      else if (graph.groupsOf(i).some((name) => name.toLowerCase() === wanted)) found[1].push(i);
    }
    return found.flat();
  }

  numberTest(text) {
    if (text === 'nan') return (x) => x !== x;
    if (text === 'inf' || text === 'infinity') return (x) => Math.abs(x) === Infinity;
    if (text === '-inf' || text === '-infinity') return (x) => x === -Infinity;
    const [, sign, digits] = /^([<>]?)\s*(-?[\d.]+(?:e[-+]?\d+)?)$/.exec(text) ?? [];
    const number = Number(digits);
    if (digits === undefined || number !== number) return null;
    if (sign === '<') return (x) => x < number;
    if (sign === '>') return (x) => x > number;
    const decimals = (digits.split('e')[0].split('.')[1] ?? '').length;
    const close = digits.includes('e') ? Math.abs(number) * 1e-3 : 0.5 * 10 ** -decimals;
    return (x) => Math.abs(x - number) <= (decimals === 0 && !digits.includes('e') ? 0 : close);
  }

  // Nodes by the size of their gradient
  byGradient(nodes, largestFirst, limit) {
    const { graph } = this;
    const size = (i) => Math.abs(graph.grad[i]);
    const found = nodes.filter((i) => !graph.gradUnknown[i] && size(i) === size(i));
    found.sort((a, b) => (largestFirst ? size(b) - size(a) : size(a) - size(b)) || a - b);
    return found.slice(0, limit);
  }

  // ReLUs that are off; tanhs and sigmoids that hardly pass a gradient
  quiet() {
    const { graph } = this;
    const off = [];
    const saturated = [];
    const greatest = { tanh: 1, sigmoid: 0.25 };
    for (let i = 0; i < graph.count; i += 1) {
      if (graph.isLeaf(i) || graph.valueUnknown[i]) continue;
      const { name } = graph.forms[graph.kind[i]];
      const local = graph.local[graph.start[i]];
      if (graph.isOff(i)) off.push(i);
      if (name in greatest && local < 0.02 * greatest[name]) saturated.push(i);
    }
    return { off, saturated };
  }

  // Where values, or gradients, stop being finite: the first on each path
  origins() {
    const { graph } = this;
    const { value, grad } = graph;
    const odd = (x) => x - x !== 0;
    const values = [];
    const grads = [];
    let oddValues = 0;
    let oddGrads = 0;
    for (let i = 0; i < graph.count; i += 1) {
      if (!graph.valueUnknown[i] && odd(value[i])) {
        oddValues += 1;
        if (![...graph.operandsOf(i)].some((p) => odd(graph.valueOf(p)))) values.push(i);
      }
      if (!graph.gradUnknown[i] && odd(grad[i])) {
        oddGrads += 1;
        if (!graph.usesOf(i).some((r) => odd(grad[r]))) grads.push(i);
      }
    }
    return { values, grads, oddValues, oddGrads };
  }

  // Why a gradient is 0: the results, on the ways to the root, whose local gradient is 0
  stops(node) {
    const { graph } = this;
    const found = new Set();
    const waiting = [node];
    const seen = new Set(waiting);
    for (const i of waiting) {
      for (const r of graph.usesOf(i)) {
        for (let slot = graph.start[r]; slot < graph.start[r + 1]; slot += 1) {
          if (graph.operand[slot] !== i) continue;
          if (graph.local[slot] === 0) found.add(r);
          else if (graph.grad[r] === 0 && !seen.has(r)) { seen.add(r); waiting.push(r); }
        }
      }
    }
    return [...found];
  }

  // A shortest path of results from a node to the root
  pathToRoot(node) {
    const { graph } = this;
    const from = new Map([[node, -1]]);
    const queue = [node];
    for (const i of queue) {
      if (i === graph.root) break;
      for (const r of graph.resultsFrom(i)) if (!from.has(r)) { from.set(r, i); queue.push(r); }
    }
    const path = [];
    for (let i = graph.root; i !== undefined && i >= 0; i = from.get(i)) path.push(i);
    return path[path.length - 1] === node ? path.reverse() : [node];
  }

  // The path from the root to a leaf with the largest product of local gradients
  heaviestPath(leaf = -1) {
    const { graph } = this;
    const weight = new Float64Array(graph.count).fill(-Infinity); // logarithms
    const above = new Int32Array(graph.count).fill(-1);
    weight[graph.root] = 0;
    let best = leaf;
    for (let i = graph.root; i >= 0; i -= 1) {
      if (weight[i] === -Infinity) continue;
      if (graph.isLeaf(i)) {
        if (leaf < 0 && (best < 0 || weight[i] > weight[best])) best = i;
        continue;
      }
      for (let slot = graph.start[i]; slot < graph.start[i + 1]; slot += 1) {
        const p = graph.operand[slot];
        const along = weight[i] + Math.log(Math.abs(graph.local[slot]));
        if (p >= 0 && along > weight[p]) { weight[p] = along; above[p] = i; }
      }
    }
    if (best < 0 || weight[best] === -Infinity) return { path: [], product: 0 };
    const path = [];
    for (let i = best; i >= 0; i = above[i]) path.push(i);
    return { path, product: Math.exp(weight[best]) };
  }
}
