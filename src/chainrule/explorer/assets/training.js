// Training

const replay = data.history && {
  ...data.history,
  losses: unpacked(data.history.losses),
  values: unpacked(data.history.values),
  grads: unpacked(data.history.grads),
};

function showReplay() {
  if (!replay) return;
  byId('replay').hidden = false;
  const last = replay.losses.length - 1;
  const slider = make('input', { type: 'range', id: 'training', min: 0, max: last, value: last, step: 1, 'aria-label': 'Step of training' });
  slider.addEventListener('input', () => replayStep(Number(slider.value)));
  const chart = shape('svg', { class: 'chart', viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Loss over the steps of training' });
  const finite = replay.losses.filter(Number.isFinite);
  const positive = finite.length > 0 && finite.every((x) => x > 0);
  const height = (x) => (positive ? Math.log(x) : x);
  const [low, high] = finite.reduce(([a, b], x) => [Math.min(a, height(x)), Math.max(b, height(x))], [Infinity, -Infinity]);
  const at = (i) => (1000 * i) / Math.max(last, 1);
  const points = [...replay.losses].map((x, i) => [at(i), 95 - (90 * (height(x) - low)) / (high - low || 1)])
    .filter(([, y]) => Number.isFinite(y));
  shape('path', { d: points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(2)}`).join('') }, chart);
  shape('line', { id: 'training-now', x1: 1000, x2: 1000, y1: 0, y2: 100 }, chart);
  byId('replay-body').append(make('p', { id: 'training-text', className: 'equation', role: 'status' }), chart, slider,
    make('p', { className: 'soft' }, positive ? 'loss, on a logarithmic scale' : 'loss'), make('table', { id: 'training-weights' }));
  byId('training-text').textContent = `${replay.total} steps recorded`;
  showReplayNumbers();
}

function replayStep(k) {
  replayed = k;
  const width = replay.weights.length;
  const leaves = [];
  replay.weights.forEach((node, i) => { if (node >= 0 && graph.isLeaf(node)) leaves.push([node, replay.values[k * width + i]]); });
  graph.change(leaves);
  numbersChanged();
}

function showReplayNumbers() {
  if (!replay) return;
  const k = replayed ?? replay.losses.length - 1;
  const width = replay.weights.length;
  if (replayed !== null) {
    byId('training-text').textContent = `step ${replay.steps[k]}: loss ${short(replay.losses[k])}`;
    const x = (1000 * k) / Math.max(replay.losses.length - 1, 1);
    byId('training-now').setAttribute('x1', x);
    byId('training-now').setAttribute('x2', x);
  }
  const table = byId('training-weights');
  table.replaceChildren(make('tr', {}, ...['weight', 'value', 'gradient'].map((text) => make('th', { scope: 'col' }, text))));
  replay.names.slice(0, MOST_LEAVES).forEach((name, i) => {
    table.append(make('tr', {}, make('td', {}, name), make('td', {}, short(replay.values[k * width + i])),
      make('td', {}, short(replay.grads[k * width + i]))));
  });
}
