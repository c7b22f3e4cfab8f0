// The values of the table's primitives, each under its name. They follow IEEE 754 and agree with
// Python's to rounding. All other values, and local gradients, are generated from the rules.
const A = (() => {
  const bits = new DataView(new ArrayBuffer(8));

  // x = mantissa * 2 ** exponent with a whole mantissa, exactly
  function parts(x) {
    bits.setFloat64(0, x);
    const high = bits.getUint32(0);
    const biased = (high >>> 20) & 0x7ff;
    const fraction = (BigInt(high & 0xfffff) << 32n) | BigInt(bits.getUint32(4));
    const mantissa = biased === 0 ? fraction : fraction | (1n << 52n);
    return [high >>> 31 ? -mantissa : mantissa, Math.max(biased, 1) - 1075];
  }

  // mantissa * 2 ** exponent, rounded once, halves to even
  function rounded(mantissa, exponent) {
    const negative = mantissa < 0n;
    let whole = negative ? -mantissa : mantissa;
    const drop = Math.max(whole.toString(2).length - 53, -1074 - exponent, 0);
    if (drop > 0) {
      const half = 1n << BigInt(drop - 1);
      const rest = whole & ((half << 1n) - 1n);
      whole >>= BigInt(drop);
      if (rest > half || (rest === half && whole & 1n)) whole += 1n;
    }
    const size = scaled(Number(whole), exponent + drop);
    return negative ? -size : size;
  }

  // x * 2 ** n, rounded once
  function scaled(x, n) {
    if (x === 0 || x - x !== 0 || n !== n) return n === n ? x : NaN;
    let m = Math.max(-5000, Math.min(n, 5000));
    while (m > 1000) { x *= 2 ** 1000; m -= 1000; }
    if (m >= -1000 && Math.abs(x) * 2 ** m > 1e-290) return x * 2 ** m;
    while (Math.abs(x) < 2 ** 900 && m < 0) { x *= 2 ** 50; m -= 50; }
    while (m < -1000 && Math.abs(x) * 2 ** -1000 > 1e-290) { x *= 2 ** -1000; m += 1000; }
    if (m < -1074) {
      const step = Math.max(m + 1022, -1000);
      return Math.abs(x) * 2 ** step > 1e-290 ? x * 2 ** step * 2 ** (m - step) : x * 0;
    }
    return x * 2 ** m;
  }

  const isWhole = (x) => Number.isFinite(x) && x === Math.floor(x);
  const isOdd = (x) => isWhole(x) && Math.abs(x % 2) === 1;
  const negativeZero = (x) => x < 0 || Object.is(x, -0);
  const copysign = (x, s) => (negativeZero(s) ? -Math.abs(x) : Math.abs(x));
  const total = (xs) => xs.reduce((sum, x) => sum + x, 0);

  function power(x, n) { // C's pow, which differs for 1 ** NaN and 1 ** infinity
    if (x === 1 || (x === -1 && !Number.isFinite(n) && n === n)) return 1;
    return x ** n;
  }

  // Remainders

  function remainder(a, b) {
    if (b === 0 || a - a !== 0 || b !== b) return NaN;
    if (Math.abs(b) === Infinity) return a;
    const size = Math.abs(b);
    let rest = Math.abs(a % b);
    const other = size - rest; // exact where it matters
    const odd = Math.abs(a) % (2 * size) >= size && 2 * size !== Infinity;
    if (rest > other || (rest === other && odd)) rest = -other;
    return negativeZero(a) ? -rest : rest;
  }

  function fma(a, b, c) {
    if (!Number.isFinite(a) || !Number.isFinite(b) || a === 0 || b === 0) return a * b + c;
    if (!Number.isFinite(c)) return c;
    const [m, i] = parts(a);
    const [n, j] = parts(b);
    const [p, k] = parts(c);
    const low = Math.min(i + j, k);
    return rounded((m * n << BigInt(i + j - low)) + (p << BigInt(k - low)), low);
  }

  function fsum(...xs) {
    if (!xs.every(Number.isFinite)) return total(xs.filter((x) => !Number.isFinite(x)));
    let sum = 0n;
    for (const x of xs) {
      const [mantissa, exponent] = parts(x);
      sum += mantissa << BigInt(exponent + 1074);
    }
    return rounded(sum, -1074);
  }

  const ldexp = (x, n) => (n !== n || (Number.isFinite(n) && !isWhole(n)) ? NaN : scaled(x, n));

  function round(x, digits) { // to a number of decimals, halves to even
    if (x - x !== 0) return x;
    if (digits !== digits || (Number.isFinite(digits) && !isWhole(digits))) return NaN;
    if (digits > 330) return x;
    if (digits < -330) return copysign(0, x);
    const [mantissa, exponent] = parts(Math.abs(x));
    let above = mantissa;
    let below = 1n;
    if (digits > 0) above *= 10n ** BigInt(digits);
    else below *= 10n ** BigInt(-digits);
    if (exponent > 0) above <<= BigInt(exponent);
    else below <<= BigInt(-exponent);
    let whole = above / below;
    const twice = 2n * (above - whole * below);
    if (twice > below || (twice === below && whole & 1n)) whole += 1n;
    return copysign(Number(`${whole}e${-digits}`), x);
  }

  // Lengths

  function exactSquare(x) { // as a number of at most 53 bits and a remainder
    const big = 134217729 * x;
    const high = big - (big - x);
    const low = x - high;
    return [high * high, low * (high + x)];
  }

  function overPower(p, n, xs) { // p / hypot(...xs) ** n
    const length = Math.hypot(...xs);
    if (length > 1e-140 && length < 1e140) {
      return p / (n === 1 ? length : fsum(...xs.flatMap(exactSquare)));
    }
    if (p !== p || xs.some((x) => x !== x)) return NaN;
    const infinite = xs.filter((x) => Math.abs(x) === Infinity).length;
    if (infinite > 0 && Math.abs(p) === Infinity && n === 1) {
      return infinite === 1 ? copysign(1, p) : NaN;
    }
    if (infinite > 0) return 0;
    if (length === 0 && xs.every((x) => x === 0)) return p === 0 && n === 1 ? 0 : p / 0;
    if (p === 0 || p - p !== 0) return p;
    const largest = exponentOf(Math.max(...xs.map(Math.abs)));
    const own = exponentOf(p);
    const quotient = overPower(scaled(p, -own), n, xs.map((x) => scaled(x, -largest)));
    return scaled(quotient, own - n * largest);
  }

  function exponentOf(x) { // of frexp
    const [mantissa, exponent] = parts(Math.abs(x));
    return exponent + mantissa.toString(2).length;
  }

  // The error function

  function erfSeries(x) { // 2 / sqrt(pi) exp(-x**2) (x + 2 x**3 / 3 + 4 x**5 / 15 + ...)
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n += 1) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1.1283791670955126 * A.gaussian(x) * sum;
  }

  function erfcFraction(x) { // exp(-x**2) / sqrt(pi) / (x + 1/2 / (x + 2/2 / (x + 3/2 / ...)))
    let tail = x;
    for (let n = Math.ceil(40 + 200 / (x * x)); n > 0; n -= 1) tail = x + n / 2 / tail;
    return (0.5641895835477563 * A.gaussian(x)) / tail;
  }

  function erf(x) {
    if (x !== x || x === 0) return x;
    if (Math.abs(x) > 6) return copysign(1, x);
    return Math.abs(x) < 1 ? erfSeries(x) : copysign(1 - erfcFraction(Math.abs(x)), x);
  }

  function erfc(x) {
    if (x !== x) return x;
    if (x < 0.75) return 1 - erf(x);
    return x > 27.3 ? 0 : erfcFraction(x);
  }

  // The gamma family

  const BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
    43867 / 798, -174611 / 330]; // B2, B4, ...
  const EULER = 0.5772156649015329;

  const zetaTail = []; // zeta(k) - 1 for k = 2, 3, ..., by Euler and Maclaurin's formula
  for (let k = 2; k < 45; k += 1) {
    const n = 200;
    let sum = n ** (1 - k) / (k - 1) + n ** -k / 2 + (k * n ** (-k - 1)) / 12
      - (k * (k + 1) * (k + 2) * n ** (-k - 3)) / 720;
    for (let i = n - 1; i > 1; i -= 1) sum += i ** -k;
    zetaTail.push(sum);
  }

  function lgammaNearTwo(w) { // lgamma(2 + w) for |w| <= 1/2, by its power series
    let sum = 0;
    for (let k = 44; k > 1; k -= 1) {
      sum = (sum + ((k % 2 ? -1 : 1) * zetaTail[k - 2]) / k) * w;
    }
    return (sum + (1 - EULER)) * w;
  }

  function stirling(x) { // lgamma(x) - (x - 1/2) log x + x for x from 15 up
    let sum = 0;
    for (let k = 6; k > 0; k -= 1) {
      sum = sum / (x * x) + BERNOULLI[k - 1] / (2 * k * (2 * k - 1));
    }
    return 0.9189385332046728 + sum / x;
  }

  function sinPi(x) {
    const r = x - 2 * Math.round(x / 2);
    const folded = r > 0.5 ? 1 - r : r < -0.5 ? -1 - r : r;
    return Math.sin(Math.PI * folded);
  }

  function lgamma(x) {
    if (x - x !== 0) return Math.abs(x);
    if (x <= 0 && isWhole(x)) return Infinity;
    if (x < 0) {
      return x > -1e-300 ? -Math.log(-x) : Math.log(Math.PI / Math.abs(sinPi(x))) - lgamma(1 - x);
    }
    if (x < 0.5) return lgamma(x + 1) - Math.log(x);
    if (x < 1.5) return lgammaNearTwo(x - 1) - Math.log1p(x - 1);
    if (x >= 15) return (x - 0.5) * (Math.log(x) - 1) + (stirling(x) - 0.5);
    let factors = 1;
    let y = x;
    while (y > 2.5) { y -= 1; factors *= y; }
    return Math.log(factors) + lgammaNearTwo(y - 2);
  }

  function gamma(x) {
    if (x === 0) return 1 / x;
    if (x - x !== 0) return x > 0 || x !== x ? x : NaN;
    if (x < 0 && isWhole(x)) return NaN;
    if (x > 171.7) return Infinity;
    if (x < -184) return Math.floor(x) % 2 ? -0 : 0;
    if (x < -160) return (Math.PI / sinPi(x)) * Math.exp(-lgamma(1 - x));
    if (x < 0) return Math.abs(x) < 1e-300 ? 1 / x : Math.PI / (sinPi(x) * gamma(1 - x));
    if (x < 1.5) return gamma(x + 1) / x;
    if (x > 20) {
      const half = power(x, 0.5 * x - 0.25);
      return half * Math.exp(stirling(x) - x) * half;
    }
    let factors = 1;
    let y = x;
    while (y > 2.5) { y -= 1; factors *= y; }
    return factors * Math.exp(lgammaNearTwo(y - 2));
  }

  function polygamma(order, x) {
    if (!(order >= 0 && isWhole(order)) || x !== x || x === -Infinity) return NaN;
    const sign = order % 2 ? 1 : -1;
    if (x === Infinity) return order === 0 ? Infinity : sign * 0;
    if (x <= 0 && isWhole(x)) {
      if (order % 2) return Infinity;
      return x === 0 ? -1 / x : NaN;
    }
    if (x < -1) return reflected(order, x);
    let factorial = 1; // of order - 1
    for (let i = 2; i < order; i += 1) factorial *= i;
    let sum = 0; // the terms that lead from x up to where the series at infinity is exact
    let y = x;
    const n = Math.max(order, 1);
    for (; y < 20 + order; y += 1) sum += y ** -(order + 1);
    let series = 0;
    for (let k = BERNOULLI.length; k > 0; k -= 1) {
      let ratio = 1; // (2 k + order - 1)! / (2 k)! / (n - 1)!
      for (let i = 1; i < order; i += 1) ratio *= (2 * k + i) / i;
      series = series / (y * y) + (BERNOULLI[k - 1] * ratio) / (order === 0 ? 2 * k : 1);
    }
    if (order === 0) return Math.log(y) - 0.5 / y - series / (y * y) - sum;
    const far = (1 + order / (2 * y) + series / (y * y)) / y ** order;
    return sign * factorial * (far + n * sum);
  }

  function reflected(order, x) { // from polygamma(order, 1 - x) and the derivatives of cot
    let coefficients = [0, 1]; // of a polynomial in cot
    for (let i = 0; i < order; i += 1) {
      const next = new Array(coefficients.length + 1).fill(0);
      coefficients.forEach((c, k) => {
        if (k > 0) next[k - 1] += k * c;
        next[k + 1] += k * c;
      });
      coefficients = next;
    }
    const r = x - Math.round(x);
    const cot = Math.abs(r) < 0.25
      ? 1 / Math.tan(Math.PI * r)
      : Math.sign(r) * Math.tan(Math.PI * (0.5 - Math.abs(r)));
    const polynomial = coefficients.reduceRight((sum, c) => sum * cot + c, 0);
    const flip = order % 2 ? -1 : 1;
    return flip * (polygamma(order, 1 - x) - Math.PI ** (order + 1) * polynomial);
  }

  return {
    // Arithmetic
    add: (a, b) => a + b,
    subtract: (a, b) => a - b,
    multiply: (a, b) => a * b,
    divide: (a, b) => a / b,
    negative: (x) => -x,
    power,
    fmod: (a, b) => (b === 0 || Math.abs(a) === Infinity ? NaN : a % b),
    remainder,
    fma,
    fsum,
    ldexp,
    // Exponentials and logarithms
    exp: Math.exp,
    expm1: Math.expm1,
    log: Math.log,
    log2: Math.log2,
    log10: Math.log10,
    log1p: Math.log1p,
    sqrt: Math.sqrt,
    cbrt: Math.cbrt,
    // Trigonometry and hyperbolic functions
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    asin: Math.asin,
    acos: Math.acos,
    atan: Math.atan,
    atan2: Math.atan2,
    hypot: Math.hypot,
    over_norm: (p, ...xs) => overPower(p, 1, xs),
    over_squares: (p, ...xs) => overPower(p, 2, xs),
    sinh: Math.sinh,
    cosh: Math.cosh,
    tanh: Math.tanh,
    asinh: Math.asinh,
    acosh: Math.acosh,
    atanh: Math.atanh,
    // Kinks and steps
    absolute: Math.abs,
    maximum: (a, b) => Math.max(a, b),
    minimum: (a, b) => Math.min(a, b),
    copysign,
    where: (condition, a, b) => (condition !== 0 ? a : b),
    less: (a, b) => Number(a < b),
    less_equal: (a, b) => Number(a <= b),
    equal: (a, b) => Number(a === b),
    not_equal: (a, b) => Number(a !== b),
    floor: Math.floor,
    round,
    gather: (index, ...table) => table[Math.trunc(index)],
    // Activations and special functions
    erf,
    erfc,
    gamma,
    lgamma,
    polygamma,
  };
})();
