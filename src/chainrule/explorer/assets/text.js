// Numbers and names as they stand in the picture.

// A number as people read it; in full in the panel
function short(x) {
  if (x !== x) return 'NaN';
  if (Math.abs(x) === Infinity) return x > 0 ? '∞' : '−∞';
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? x.toExponential(3) : x.toFixed(4);
  return text.replace(/^-(?=[0.]*$)/, '').replaceAll('-', '−');
}

// The same without zeros at the end, where space is dear
function compact(x) {
  return short(x).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
}

// With two digits where it would be long
function brief(x) {
  const text = compact(x);
  return text.includes('e') ? x.toExponential(1).replaceAll('-', '−') : text;
}

const pen = document.createElement('canvas').getContext('2d');
pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`; // of titles

const widthOf = (text) => pen.measureText(text).width;

// So many letters at most, and no wider than there is room
function clipped(text, length, room = Infinity) {
  const letters = [...text].slice(0, length + 1);
  const joined = (count) => (count < letters.length ? `${letters.slice(0, count).join('')}…` : text);
  let count = letters.length > length ? length - 1 : letters.length;
  while (count > 1 && room < Infinity && widthOf(joined(count)) > room) count -= 1;
  return isolated(joined(count));
}

// A name that turns the direction of writing does so in itself only
function isolated(name) {
  return /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/.test(name) ? `\u2068${name}\u2069` : name;
}
