// What values are called: by the user's names and variables, else by their place; and the formulas
// that are written with these names and with the numbers.

const SIGNS = { add: [' + ', 1], subtract: [' − ', 1], multiply: ['·', 2], divide: [' / ', 2], power: ['^', 4] };
const WORDS = { add: 'sum', subtract: 'difference', multiply: 'product', divide: 'quotient', power: 'power', negative: 'negative' };
const SUPERSCRIPTS = { '-': '⁻', '−': '⁻', ...Object.fromEntries([...'⁰¹²³⁴⁵⁶⁷⁸⁹'].map((c, i) => [i, c])) };
const ATOM = 5;
const LONGEST_TEXT = 22; // of an unnamed value's formula
const MOST_OPERANDS = 12;

const full = (x) => (x !== x ? 'NaN' : String(x).replace('Infinity', '∞').replaceAll('-', '−'));
const bracketed = (text) => (text.startsWith('−') ? `(${text})` : text);

class Names {
  constructor(graph) {
    this.graph = graph;
    this.labels = null;
  }

  symbol(node) {
    const symbol = this.graph.symbolOf(node);
    return { '*': '×', '-': '−', neg: '−' }[symbol] ?? symbol;
  }

  // The name; without one what it is among the unnamed of its group: w2, product 3
  label(node) {
    this.labels ??= this.labelsOf();
    return isolated(this.graph.nameOf(node)) || this.labels[node];
  }

  // The same with the groups around it: layer 1 › neuron 3 › w2
  place(node) { return [...this.graph.groupsOf(node), this.label(node)].join(' › '); }

  // What leaves are to their results, in bits: 1 a factor, 2 a term, 4 something else
  rolesOf() {
    const { graph } = this;
    const roles = new Uint8Array(graph.count);
    for (let i = 0; i < graph.kind.length; i += 1) {
      if (graph.isLeaf(i)) continue;
      const { name } = graph.forms[graph.kind[i]];
      const role = name === 'multiply' ? 1 : name === 'add' || name === 'subtract' ? 2 : 4;
      for (let slot = graph.start[i]; slot < graph.start[i + 1]; slot += 1) if (graph.operand[slot] >= 0) roles[graph.operand[slot]] |= role;
    }
    return roles;
  }

  labelsOf() {
    const { graph } = this;
    const roles = this.rolesOf();
    const counts = new Map(); // by group, by kind
    const found = [];
    const kinds = [];
    for (let i = 0; i < graph.kind.length; i += 1) {
      if (graph.names[i]) continue;
      const [kind, group] = [this.kindOf(i, roles[i]), graph.scopeOf(i)];
      let mine = counts.get(group);
      if (!mine) counts.set(group, mine = new Map());
      mine.set(kind, (mine.get(kind) ?? 0) + 1);
      kinds.push([i, kind, mine, mine.get(kind)]);
    }
    for (const [i, kind, mine, number] of kinds) {
      found[i] = mine.get(kind) === 1 && kind !== 'w' ? kind : `${kind}${kind.length > 1 ? ' ' : ''}${number - (kind === 'w')}`;
    }
    return found;
  }

  // Leaves as a network has them: by layer and neuron, in it weights, then biases, by their numbers
  inOrder(leaves) {
    const { graph } = this;
    const roles = this.rolesOf();
    const families = new Map(); // of groups whose names differ by numbers only, as they come
    const keys = new Map(leaves.map((leaf) => {
      const groups = graph.groupsOf(leaf);
      for (const name of groups) { const family = name.replace(/\d+/g, ''); if (!families.has(family)) families.set(family, families.size); }
      return [leaf, groups];
    }));
    const { compare } = new Intl.Collator('en', { numeric: true });
    const byGroups = (a, b) => {
      for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
        if (a[i] === b[i]) continue;
        const [u, v] = [a[i], b[i]].map((name) => families.get(name.replace(/\d+/g, '')));
        return u - v || compare(a[i], b[i]);
      }
      return a.length - b.length;
    };
    return [...leaves].sort((a, b) => byGroups(keys.get(a), keys.get(b)) || (graph.nameOf(b) !== '') - (graph.nameOf(a) !== '')
      || (roles[b] === 1) - (roles[a] === 1) || compare(this.label(a), this.label(b)) || a - b);
  }

  // Leaves but inputs and targets: told by the training set; else these are outside of groups where
  // others are inside, alone in a group without a factor, or have such names
  weights() {
    const { graph } = this;
    if (data.training) { const given = new Set([...data.training.inputs, data.training.target]); return graph.leaves().filter((leaf) => !given.has(leaf)); }
    const roles = this.rolesOf();
    const grouped = graph.leaves().filter((leaf) => graph.groupsOf(leaf).length);
    const factors = new Set(grouped.filter((leaf) => roles[leaf] === 1).map((leaf) => graph.scopeOf(leaf)));
    return (grouped.length ? grouped.filter((leaf) => factors.has(graph.scopeOf(leaf))) : graph.leaves())
      .filter((leaf) => !/^([xyt]|inputs?|targets?|labels?)([\d_[(,₀-₉]|$)/i.test(graph.nameOf(leaf)));
  }

  kindOf(node, role) {
    const { graph } = this;
    if (!graph.isLeaf(node)) return WORDS[graph.forms[graph.kind[node]].name] ?? graph.symbolOf(node);
    if (graph.scopeOf(node) === graph.count) return 'leaf';
    return role === 1 ? 'w' : role === 2 ? 'b' : 'leaf';
  }

  // What formulas call a value: its name, or its own formula where that is short
  expression(node, depth = 4) {
    const { graph } = this;
    if (graph.nameOf(node) || graph.isLeaf(node)) return [this.label(node), ATOM];
    const built = depth > 0 ? this.applied(node, depth - 1) : ['', 0];
    return built[0] && [...built[0]].length <= LONGEST_TEXT ? built : [this.label(node), ATOM];
  }

  // The same with brackets where it is put together with other things
  closed(node) {
    const [text, binding] = this.expression(node);
    return binding < ATOM ? `(${text})` : text;
  }

  // An operation with its operands: w0·x0 + b
  applied(node, depth = 4) {
    const operands = [...this.graph.operandsOf(node)].slice(0, MOST_OPERANDS)
      .map((p) => (p < 0 ? this.number(this.graph.valueOf(p)) : this.expression(p, depth)));
    return this.written(node, operands, SIGNS);
  }

  // The same with numbers for the operands
  withNumbers(node) {
    const { graph } = this;
    const operands = [...graph.operandsOf(node)].slice(0, MOST_OPERANDS)
      .map((p) => (p >= 0 && graph.valueUnknown[p] ? ['unknown', ATOM] : this.number(graph.valueOf(p))));
    return this.written(node, operands, { ...SIGNS, multiply: [' × ', 2] })[0];
  }

  number(x) { return [compact(x), x < 0 || Object.is(x, -0) ? 0 : ATOM]; }

  written(node, operands, signs) {
    const { graph } = this;
    const { name } = graph.forms[graph.kind[node]];
    const inside = ([text, binding], least) => (binding < least ? `(${text})` : text);
    if (name in signs && operands.length === 2) {
      const [sign, binding] = signs[name];
      const [a, b] = operands;
      if (name === 'power') {
        const exponent = /^−?\d+$/.test(b[0]) ? [...b[0]].map((c) => SUPERSCRIPTS[c]).join('') : `^${inside(b, ATOM)}`;
        return [`${inside(a, ATOM)}${exponent}`, binding];
      }
      const strict = name === 'subtract' || name === 'divide' ? 1 : 0;
      return [`${inside(a, binding)}${sign}${inside(b, binding + strict)}`, binding];
    }
    if (name === 'negative') return [`−${inside(operands[0], 2)}`, 1];
    const more = graph.operandsOf(node).length > operands.length ? ', …' : '';
    return [`${graph.symbolOf(node)}(${operands.map(([text]) => text).join(', ')}${more})`, ATOM];
  }

  // y = tanh(w0·x0 + b)
  definition(node) {
    const { graph } = this;
    if (graph.isLeaf(node)) return this.label(node);
    const text = this.applied(node)[0];
    return graph.nameOf(node) || [...text].length > 60 ? `${this.label(node)} = ${text}` : text;
  }

  valueText(node) { return this.graph.valueUnknown[node] ? 'unknown' : compact(this.graph.value[node]); }

  // Its name or place, and of an unnamed operation what it computes: product 2 = w0·x0
  described(node, isNear) {
    const name = isNear ? this.label(node) : this.place(node);
    if (this.graph.isLeaf(node) || this.graph.nameOf(node)) return name;
    const [text] = this.applied(node);
    return [...text].length <= LONGEST_TEXT ? `${name} = ${text}` : name;
  }

  gradientText(node) { return walk.unknown[node] ? 'unknown' : short(walk.grad[node]); }

  // tanh(0.7616) = 0.6420
  equation(node) {
    const value = this.valueText(node);
    return this.graph.isLeaf(node) ? `${this.label(node)} = ${value}` : `${this.withNumbers(node)} = ${value}`;
  }

  // ∂(w0·x0)/∂w0 = x0 = 2
  local(node, slot) {
    const { graph } = this;
    const at = slot - graph.start[node];
    const form = graph.forms[graph.kind[node]];
    const texts = new Map([['y', this.expression(node)]]);
    graph.operandsOf(node).forEach((p, i) => {
      texts.set(form.operands[i], p < 0 ? this.number(graph.valueOf(p)) : this.expression(p));
    });
    const wrapped = ([text, binding]) => (binding < ATOM ? `(${text})` : text);
    const formula = form.formulas[at];
    const alone = texts.get(formula); // no brackets where it stands alone
    const put = alone ? alone[0] : formula.replace(/[\p{L}\p{N}_.]+(?!\()/gu, (word) => (texts.has(word) ? wrapped(texts.get(word)) : word));
    const number = compact(graph.local[slot]);
    const pulls = formula === 'pull-back of 1';
    const phrase = pulls || put.includes(' if ');
    const middle = !put || put === number || phrase ? '' : `${put} = `;
    return `∂${wrapped(texts.get('y'))}/∂${wrapped(texts.get(form.operands[at]))} = ${middle}${number}${phrase ? ` (rule: ${put})` : ''}`;
  }
}
