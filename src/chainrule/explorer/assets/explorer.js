// The page: buttons, keys, steps and what is chosen.

const LONGEST_PLAY = 25000; // milliseconds

// Steps

function go(step, follow = true) {
  selected = null;
  hideTip();
  walk.go(step);
  picture.update();
  stepChanged();
  if (follow && walk.boxes.length) picture.centre(walk.boxes[0]);
  if (timer === null) announce(describeStep());
}

// What shows where the walk is
function stepChanged(panelToo = true) {
  picture.svg.classList.toggle('is-forward', walk.phase === 'forward' || walk.phase === 'start');
  if (panelToo) showStep();
  byId('scrub').max = walk.length;
  byId('scrub').value = walk.step;
  byId('scrub').setAttribute('aria-valuetext', describeStep());
  byId('counter').textContent = `${PHASES[walk.phase]} · ${walk.step} of ${walk.length}`;
  showRoot();
}

const pauseOf = () => Math.min(Number(byId('speed').value), LONGEST_PLAY / walk.length);

// Walk by itself, to the end in LONGEST_PLAY at most
function play(on) {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  byId('play').textContent = on ? 'Pause' : '▶ Play';
  byId('play').setAttribute('aria-label', on ? 'Pause' : 'Play');
  if (!on) return;
  const pause = pauseOf();
  const tick = () => {
    if (walk.step >= walk.length) { play(false); announce(describeStep()); return; }
    timer = setTimeout(tick, Math.max(pause, 16));
    go(walk.step + Math.max(1, Math.round(16 / pause)));
  };
  if (walk.step >= walk.length) go(0);
  timer = setTimeout(tick, 150);
}

function useBy(by) {
  walk.use(by);
  byId('by').value = by;
  go(walk.step);
}

// Selection, folding, messages

function select(node, reveal = false) {
  selected = node;
  if (reveal) { changeView(() => picture.reveal(node)); selected = node; picture.current = node; picture.update(); picture.centre(node, true); byId('panel').scrollTop = 0; }
  showStep();
  announce(walk.isEvaluated(node) ? names.equation(node) : `${names.label(node)}, not yet computed`);
}

function activate(box) {
  picture.current = box;
  hideTip();
  if (!picture.isGroup(box)) { select(box); picture.update(); picture.centre(box); return; }
  play(false);
  selected = picture.group(box).side ? null : box;
  if (!changeView(() => picture.toggle(box))) { say(`Too much to show at once (${MOST_BOXES} boxes): fold something first`); return; }
  announce(`group ${graph.titleOf(box)} ${picture.open.has(box) ? 'unfolded' : 'folded'}`);
  picture.elements.get(picture.current)?.focus({ preventScroll: true });
}

function stepTrip({ dataset }) {
  const [loop, by] = [Number(dataset.loop), Number(dataset.by)];
  if (!changeView(() => picture.stepTrip(loop, by))) { say('There is no other trip on this side'); return; }
  const { at, trips } = picture.group(loop).loop;
  announce(`trip ${at + 1} of ${trips.length}`);
  byId('picture').querySelector(`[data-loop="${loop}"][data-by="${by}"]`)?.focus({ preventScroll: true });
}

let announced = null;
function announce(text) { // once things are still
  clearTimeout(announced);
  announced = setTimeout(() => { byId('announcer').textContent = text; }, 150);
}

let said = null;
function say(text) {
  const message = byId('message');
  message.textContent = text;
  message.hidden = false;
  clearTimeout(said);
  said = setTimeout(() => { message.hidden = true; }, 5000);
}

// From box to box with the keyboard: along edges to the sides, else to what stands above or below
function neighbour(box, key) {
  const around = [...picture.edges.values()];
  let found = [];
  if (key === 'ArrowLeft') found = around.filter((edge) => edge.head === box).map((edge) => edge.tail);
  if (key === 'ArrowRight') found = around.filter((edge) => edge.tail === box).map((edge) => edge.head);
  if (found.length) return found[0];
  const [left, top, width, height] = picture.rect.get(box);
  const [x, y] = [left + width / 2, top + height / 2];
  const upright = key === 'ArrowUp' || key === 'ArrowDown';
  const sign = key === 'ArrowUp' || key === 'ArrowLeft' ? -1 : 1;
  let best = null;
  let least = Infinity;
  for (const [other, [l, t, w, h]] of picture.rect) {
    const [dx, dy] = [l + w / 2 - x, t + h / 2 - y];
    const [along, aside] = upright ? [dy * sign, Math.abs(dx)] : [dx * sign, Math.abs(dy)];
    if (other !== box && along > 1 && along + 2 * aside < least) { best = other; least = along + 2 * aside; }
  }
  return best;
}

// Mouse, touch and keys

function listenToPicture() {
  const svg = byId('picture');
  const pointers = new Map();
  let moved = 0;
  const boxAt = (event) => event.target.closest('[data-box]');
  svg.addEventListener('pointerdown', (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    hideTip();
    moved = 0;
  });
  svg.addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) { showTip(boxAt(event), event); return; }
    const now = [event.clientX, event.clientY];
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const far = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
      const frame = svg.getBoundingClientRect();
      picture.zoom(far(now) / Math.max(far(last), 1), other[0] - frame.left, other[1] - frame.top);
    } else if (moved + Math.hypot(now[0] - last[0], now[1] - last[1]) > 4) {
      svg.setPointerCapture(event.pointerId);
      svg.classList.add('dragging');
      picture.fitted = false;
      picture.pan(now[0] - last[0], now[1] - last[1]);
    }
    moved += Math.hypot(now[0] - last[0], now[1] - last[1]);
    pointers.set(event.pointerId, now);
  });
  const release = (event) => { pointers.delete(event.pointerId); svg.classList.remove('dragging'); };
  svg.addEventListener('pointerup', release);
  svg.addEventListener('pointercancel', release);
  svg.addEventListener('pointerleave', hideTip);
  svg.addEventListener('click', (event) => {
    const stepper = event.target.closest('[data-loop]');
    if (stepper && moved <= 4) { stepTrip(stepper); return; }
    const element = boxAt(event);
    if (element && moved <= 4) activate(Number(element.dataset.box));
  });
  svg.addEventListener('wheel', (event) => {
    event.preventDefault();
    hideTip();
    const frame = svg.getBoundingClientRect();
    picture.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  svg.addEventListener('focusin', (event) => {
    const element = boxAt(event);
    if (!element || pointers.size) return; // what a button presses stays until it is let go
    picture.current = Number(element.dataset.box);
    picture.centre(picture.current);
  });
}

function hideTip() { byId('tooltip').hidden = true; }

// Beside the pointer: the operation, its value and gradient, and the line of the program that made the node
function showTip(element, event) {
  const tip = byId('tooltip');
  tip.hidden = !element;
  if (!element) return;
  const box = Number(element.dataset.box);
  const line = data.sources[data.lines[box]];
  tip.textContent = picture.isGroup(box)
    ? `${graph.titleOf(box)}: ${graph.group(box).size.toLocaleString('en')} nodes`
    : `${names.place(box)}\n${names.definition(box)}${walk.isEvaluated(box) ? `\n= ${names.valueText(box)}` : ''}${picture.hasGradient(box) ? `\n∂${root()}/∂${names.closed(box)} = ${names.gradientText(box)}` : ''}${line ? `\n${line}` : ''}`;
  const frame = byId('stage').getBoundingClientRect();
  const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
  tip.style.left = '0';
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = `${Math.max(Math.min(x + 14, frame.width - width - 4), 0)}px`;
  tip.style.top = `${y + 18 + height > frame.height ? Math.max(y - height - 10, 0) : y + 18}px`;
}

function onKey(event) {
  const { target, key } = event;
  const typing = target.matches('input:not([type="range"]):not([type="checkbox"]), select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey || typing || byId('keys').open) return;
  const box = target.closest?.('[data-box]');
  if (box && event.shiftKey && key.startsWith('Arrow')) {
    const next = neighbour(Number(box.dataset.box), key);
    if (next !== null) { picture.current = next; picture.update(); picture.elements.get(next).focus({ preventScroll: true }); picture.centre(next); }
    event.preventDefault();
    return;
  }
  const stepper = target.closest?.('[data-loop]');
  if (stepper && (key === 'Enter' || key === ' ')) { stepTrip(stepper); event.preventDefault(); return; }
  if (box && (key === 'Enter' || key === ' ')) { activate(Number(box.dataset.box)); event.preventDefault(); return; }
  const isControl = target.matches('button, summary, a, input');
  if ((key === ' ' || key === 'Enter') && isControl && !target.matches('[type="range"]')) return;
  if (target.matches('[type="range"]') && target.id !== 'scrub' && /^(Arrow|Home|End|Page)/.test(key)) return;
  const actions = {
    ArrowRight: () => stepBy(1),
    ArrowLeft: () => stepBy(-1),
    Home: () => stepBy(-Infinity),
    End: () => stepBy(Infinity),
    ' ': () => play(timer === null),
    l: () => useBy(walk.by === 'box' ? 'level' : 'box'),
    '/': () => { byId('find').open = true; byId('search').focus(); },
    '?': () => byId('keys').showModal(),
    '+': () => picture.zoom(1.25),
    '=': () => picture.zoom(1.25),
    '-': () => picture.zoom(0.8),
    0: () => picture.begin(),
    u: () => unfoldAll(),
    f: () => changeView(() => picture.foldAll()),
  };
  if (key in actions) { actions[key](); event.preventDefault(); }
}

function stepBy(count) {
  play(false);
  go(walk.step + count);
}

// After other boxes have come into view the steps are others
function changeView(change) {
  const done = change();
  stepChanged();
  return done;
}

function unfoldAll() {
  if (!changeView(() => picture.unfoldAll())) say(`Nothing more to unfold at once (the limit is ${MOST_BOXES} boxes): unfold groups one by one`);
}

function listen() {
  const onClick = {
    first: () => stepBy(-Infinity),
    back: () => stepBy(-1),
    play: () => play(timer === null),
    next: () => stepBy(1),
    last: () => stepBy(Infinity),
    'zoom-in': () => picture.zoom(1.25),
    'zoom-out': () => picture.zoom(0.8),
    fit: () => (picture.fitted ? picture.fit() : picture.begin()),
    'unfold-all': unfoldAll,
    'fold-all': () => changeView(() => picture.foldAll()),
    theme: () => useTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'),
    help: () => byId('keys').showModal(),
  };
  for (const [id, action] of Object.entries(onClick)) byId(id).addEventListener('click', action);
  byId('scrub').addEventListener('input', (event) => { play(false); go(Number(event.target.value)); });
  byId('by').addEventListener('change', (event) => useBy(event.target.value));
  byId('gradients').addEventListener('toggle', () => { if (byId('gradients').open) { showGradients(); byId('gradients').scrollIntoView({ block: 'nearest' }); } });
  byId('health').addEventListener('toggle', () => { if (byId('health').open) showHealth(); });
  document.addEventListener('keydown', onKey);
  new ResizeObserver(() => { if (picture.resized() && picture.fitted) changeView(() => picture.begin()); }).observe(byId('stage'));
  const dark = matchMedia('(prefers-color-scheme: dark)');
  useTheme(dark.matches ? 'dark' : 'light');
  dark.addEventListener('change', () => useTheme(dark.matches ? 'dark' : 'light'));
  let theme = null;
  addEventListener('beforeprint', () => { theme = document.documentElement.dataset.theme; useTheme('light'); picture.print(true); });
  addEventListener('afterprint', () => { useTheme(theme); picture.print(false); });
}

function useTheme(theme) { document.documentElement.dataset.theme = theme; }

byId('title').textContent = data.title;
const leafCount = graph.kind.subarray(0, graph.count).filter((kind) => kind < 0).length;
byId('summary').textContent = `${graph.count.toLocaleString('en')} nodes, ${leafCount.toLocaleString('en')} leaves`;
for (const element of document.querySelectorAll('.root-name')) element.textContent = root();
byId('branches').textContent = data.decisions.length ? 'Where an if or while of it would go another way, the page says so.'
  : 'Whether an if of it would go another way is noticed only in pages made with lines=lines.';
listen();
showLeaves();
showFind();
showReplay();
showPractice();
picture.unfoldWhatFits();
picture.begin();
listenToPicture();
go(0, false);
refreshNumbers();
document.documentElement.dataset.ready = 'yes';
