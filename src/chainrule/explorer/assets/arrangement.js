// Where the boxes of open groups stand, and the ways of the edges between them. Python has put the
// boxes of every group, its inner groups folded, in columns; here they are spread over the room there
// is, in lines one below the other where the columns are too many for one.

const PADDING = 14;
const HEADING = 26;
const COLUMN_GAP = 56;
const LANE = 60; // between lines: the way of the edges from one to the next
const TURN = 34; // beside lines: where these edges turn
const TRIP_WIDTH = 180; // at least: its heading has buttons

class Arrangement {
  // `sizes` are those of nodes and of folded groups, `stretch` of the gaps between columns and of heights
  constructor(graph, sizes, open, room, stretch) {
    this.graph = graph;
    [this.nodeSize, this.groupSize] = sizes;
    this.open = open;
    this.stretch = stretch;
    this.rect = new Map(); // left, top, width and height of boxes and open groups
    this.bends = new Map();
    this.lines = new Map();
    this.lineOf = new Map();
    this.size = this.measure(graph.count, room);
  }

  // The size of an open group in some width, and where its boxes stand in it
  measure(group, room) {
    const { graph } = this;
    const { loop, trip, bends } = graph.group(group); // the trips of a loop stand one below the other
    const { column: columnOf, y } = graph.placed;
    const boxes = graph.inside[group - graph.count];
    const foldedSize = (box) => (graph.isGroup(box) ? this.groupSize : this.nodeSize);
    let inner = room - 2 * PADDING - (loop ? 2 * TURN : 0);
    let sizes;
    let widths;
    const measureBoxes = () => {
      widths = [];
      sizes = boxes.map((box) => (this.open.has(box) ? this.measure(box, inner) : foldedSize(box)));
      boxes.forEach((box, i) => { widths[columnOf[box]] = Math.max(widths[columnOf[box]] ?? 0, sizes[i][0]); });
    };
    measureBoxes();
    const gap = COLUMN_GAP * this.stretch[0];
    const wrapped = loop || widths.reduce((sum, width) => sum + width + gap, -gap) > inner;
    if (wrapped && !loop) {
      inner -= 2 * TURN;
      if (widths.some((width) => width > inner)) measureBoxes();
    }
    const items = boxes.map((box, i) => { // all that stands in a column
      const [width, height] = sizes[i];
      const folded = foldedSize(box)[1];
      const middle = (y[box] + folded / 2) * this.stretch[1];
      return { box, column: columnOf[box], middle, top: middle - folded / 2, width, height, more: height - folded };
    });
    const places = Object.entries(bends).map(([way, points]) => [
      way.split(',').map((i) => boxes[i] ?? -1).join(), points]);
    for (const [edge, points] of places) {
      points.forEach(([column, height], i) => {
        const middle = height * this.stretch[1];
        items.push({ edge, i, column, middle, top: middle, width: 0, height: 0, more: 0 });
      });
    }
    const spots = this.linesOf(widths, gap, loop ? 0 : wrapped ? inner : Infinity);
    const columns = widths.map(() => []);
    for (const item of items) columns[item.column].push(item);
    for (const column of columns) {
      column.sort((a, b) => a.middle - b.middle);
      let shift = -column.reduce((sum, item) => sum + item.more, 0) / 2;
      for (const item of column) { item.top += shift; shift += item.more; }
    }
    const lines = [];
    for (const item of items) {
      const { line, left } = spots[item.column];
      item.line = line;
      item.left = (wrapped ? TURN : 0) + left + (widths[item.column] - item.width) / 2;
      lines[line] ??= { top: Infinity, bottom: -Infinity, right: 0 };
      lines[line].top = Math.min(lines[line].top, item.top);
      lines[line].bottom = Math.max(lines[line].bottom, item.top + item.height);
      lines[line].right = Math.max(lines[line].right, left + widths[item.column]);
    }
    let bottom = 0;
    const lanes = lines.map(({ top, bottom: below, right }) => {
      const shift = bottom - top;
      bottom += below - top + LANE;
      return { shift, y: bottom - LANE / 2 + 8, left: wrapped ? TURN : 0, right: right + (wrapped ? TURN : 0), used: 0 };
    });
    const bent = new Map();
    for (const item of items) {
      const top = item.top + lanes[item.line].shift;
      if (item.box === undefined) {
        if (!bent.has(item.edge)) bent.set(item.edge, []);
        bent.get(item.edge)[item.i] = [item.left, top, item.line];
      } else {
        this.rect.set(item.box, [item.left, top, item.width, item.height]);
        this.lineOf.set(item.box, item.line);
      }
    }
    this.bends.set(group, bent);
    this.lines.set(group, lanes);
    const across = Math.max(0, ...lanes.map((lane) => lane.right)) + (wrapped ? TURN : 0);
    const foot = group === graph.count ? 0 : 8; // a message stands below a box
    return [Math.max(across, trip ? TRIP_WIDTH : 0) + 2 * PADDING, bottom - LANE + 2 * PADDING + HEADING + foot];
  }

  // In which line each column stands, and where in it
  linesOf(widths, gap, room) {
    let line = 0;
    let left = 0;
    return widths.map((width) => {
      if (left > 0 && left + width > room) { line += 1; left = 0; }
      const place = { line, left };
      left += width + gap;
      return place;
    });
  }

  // From places in a group to places in the picture
  place(group = this.graph.count, left = 0, top = 0) {
    for (const box of this.graph.inside[group - this.graph.count]) {
      const rect = this.rect.get(box);
      rect[0] += left;
      rect[1] += top;
      if (this.open.has(box)) this.place(box, rect[0] + PADDING, rect[1] + PADDING + HEADING);
    }
    for (const points of this.bends.get(group).values()) {
      for (const point of points) { point[0] += left; point[1] += top; }
    }
    for (const lane of this.lines.get(group)) { lane.y += top; lane.left += left; lane.right += left; }
  }

  // The way of an edge between two boxes in view, as a path
  routeOf(tail, head) {
    const { parent } = this.graph;
    const depthOf = (box) => { let depth = 0; for (let b = box; parent[b] >= 0; b = parent[b]) depth += 1; return depth; };
    let [a, b] = [tail, head];
    let [u, v] = [depthOf(a), depthOf(b)];
    let [out, into] = [[], []]; // on the way out of the operand's groups, and into the result's
    const bendsOf = (group, key) => (this.lines.get(group).length > 1 ? [] : this.bends.get(group).get(key) ?? []);
    while (parent[a] !== parent[b]) {
      if (u >= v) { out = [...out, ...bendsOf(parent[a], `${a},-1`)]; a = parent[a]; u -= 1; }
      else { into = [...bendsOf(parent[b], `-1,${b}`), ...into]; b = parent[b]; v -= 1; }
    }
    const bent = this.bends.get(parent[a]);
    const bends = bent.get(`${a},${b}`) ?? [...(bent.get(`${b},${a}`) ?? [])].reverse();
    const from = this.rect.get(tail);
    const to = this.rect.get(head);
    const inLine = (points, line) => points.map(([x, y]) => [x, y, line]);
    const [first, last] = [this.lineOf.get(a), this.lineOf.get(b)];
    const points = [[from[0] + from[2], from[1] + from[3] / 2, first], ...inLine(out, first), ...bends,
      ...inLine(into, last), [to[0], to[1] + to[3] / 2, last]];
    const lanes = this.lines.get(parent[a]);
    let path = `M${points[0][0]} ${points[0][1]}`;
    for (let i = 1; i < points.length; i += 1) path += this.segment(points[i - 1], points[i], lanes);
    return path;
  }

  // A curve from point to point; to a later line along the lane above it
  segment([x0, y0, from], [x1, y1, to], lanes) {
    if (to <= from) {
      const reach = Math.max(Math.abs(x1 - x0) / 2, 20);
      return ` C${x0 + reach} ${y0} ${x1 - reach} ${y1} ${x1} ${y1}`;
    }
    const out = lanes[from];
    const into = lanes[to - 1];
    const y = out.y + ((out.used % 5) - 2) * 5;
    out.used += 1;
    let path = ` L${out.right} ${y0} C${out.right + TURN} ${y0} ${out.right + TURN} ${y} ${out.right} ${y}`;
    if (into !== out) path += ` L${into.left - TURN / 2} ${y} L${into.left - TURN / 2} ${into.y}`;
    const { left } = lanes[to];
    path += ` L${left} ${into === out ? y : into.y} C${left - TURN} ${into === out ? y : into.y} ${left - TURN} ${y1} ${left} ${y1}`;
    return `${path} L${x1} ${y1}`;
  }
}
