/** Counters, gauges and histograms, and their text for Prometheus (exposition format 0.0.4). No more than is used here. */

export type Labels = Readonly<Record<string, string>>;

/** Series of one metric; further ones are counted under `other`, so that no label can fill the memory. */
const MAX_SERIES = 5_000;
const MAX_LABEL = 128;
const OTHER = 'other';

interface Metric {
  readonly name: string;
  lines(): string[];
}

export class Registry {
  readonly #metrics: Metric[] = [];

  counter(name: string, help: string, labels: readonly string[] = []): Counter {
    const counter = new Counter(name, help, labels);
    this.#metrics.push(counter);
    return counter;
  }

  /** `read` is asked whenever the text is made; undefined: there is no number now. */
  gauge(name: string, help: string, read: () => number | undefined): void {
    this.#sampled('gauge', name, help, read);
  }

  /** A counter that somebody else keeps. */
  counted(name: string, help: string, read: () => number): void {
    this.#sampled('counter', name, help, read);
  }

  /** The same by one label, whose values are a fixed list. */
  countedBy(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void {
    const lines = (): string[] => [
      ...head(name, help, 'counter'),
      ...Object.entries(read()).map(([value, count]) => `${name}{${label}="${escaped(value)}"} ${count}`),
    ];
    this.#metrics.push({ name, lines });
  }

  /** `bounds`: upper bounds of its buckets, ascending. */
  histogram(name: string, help: string, labels: readonly string[], bounds: readonly number[]): Histogram {
    const histogram = new Histogram(name, help, labels, bounds);
    this.#metrics.push(histogram);
    return histogram;
  }

  /** The body of `GET /metrics`; its type is `CONTENT_TYPE`. */
  text(): string {
    return `${this.#metrics.flatMap((metric) => metric.lines()).join('\n')}\n`;
  }

  #sampled(kind: 'gauge' | 'counter', name: string, help: string, read: () => number | undefined): void {
    this.#metrics.push({
      name,
      lines: () => {
        const value = read();
        return value === undefined ? [] : [...head(name, help, kind), `${name} ${value}`];
      },
    });
  }
}

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Values by labels; the values of the labels in a fixed order are the key. */
class Series<T> {
  readonly #labels: readonly string[];
  readonly #make: () => T;
  readonly #of = new Map<string, T>();

  constructor(labels: readonly string[], make: () => T) {
    this.#labels = labels;
    this.#make = make;
  }

  of(labels: Labels): T {
    const key = this.#key((label) => (labels[label] ?? '').slice(0, MAX_LABEL));
    return this.#of.get(key) ?? this.#add(this.#of.size < MAX_SERIES ? key : this.#key(() => OTHER));
  }

  entries(): readonly (readonly [key: string, T])[] {
    return [...this.#of];
  }

  #add(key: string): T {
    let found = this.#of.get(key);
    if (found === undefined) {
      found = this.#make();
      this.#of.set(key, found);
    }
    return found;
  }

  #key(value: (label: string) => string): string {
    return this.#labels.map((label) => `${label}="${escaped(value(label))}"`).join(',');
  }
}

export class Counter implements Metric {
  readonly name: string;
  readonly #help: string;
  readonly #series: Series<{ value: number }>;

  constructor(name: string, help: string, labels: readonly string[]) {
    this.name = name;
    this.#help = help;
    this.#series = new Series(labels, () => ({ value: 0 }));
  }

  add(labels: Labels = {}, by = 1): void {
    this.#series.of(labels).value += by;
  }

  value(labels: Labels = {}): number {
    return this.#series.of(labels).value;
  }

  lines(): string[] {
    const series = this.#series.entries();
    if (series.length === 0) return [];
    return [
      ...head(this.name, this.#help, 'counter'),
      ...series.map(([key, { value }]) => `${this.name}${key === '' ? '' : `{${key}}`} ${value}`),
    ];
  }
}

export class Histogram implements Metric {
  readonly name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #series: Series<{ readonly buckets: number[]; sum: number; count: number }>;

  constructor(name: string, help: string, labels: readonly string[], bounds: readonly number[]) {
    this.name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#series = new Series(labels, () => ({ buckets: bounds.map(() => 0), sum: 0, count: 0 }));
  }

  observe(labels: Labels, value: number): void {
    const series = this.#series.of(labels);
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at >= 0) series.buckets[at]!++;
    series.sum += value;
    series.count++;
  }

  lines(): string[] {
    const all = this.#series.entries();
    if (all.length === 0) return [];
    const lines = head(this.name, this.#help, 'histogram');
    for (const [key, { buckets, sum, count }] of all) {
      const before = key === '' ? '' : `${key},`;
      let below = 0;
      this.#bounds.forEach((bound, i) => {
        below += buckets[i]!;
        lines.push(`${this.name}_bucket{${before}le="${bound}"} ${below}`);
      });
      lines.push(`${this.name}_bucket{${before}le="+Inf"} ${count}`);
      const named = key === '' ? '' : `{${key}}`;
      lines.push(`${this.name}_sum${named} ${sum}`, `${this.name}_count${named} ${count}`);
    }
    return lines;
  }
}

function head(name: string, help: string, kind: 'counter' | 'gauge' | 'histogram'): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`];
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
