// Numbers, sizes and times as the reader's language writes them.
//
// Sizes are decimal (1 GB = 10⁹ bytes), as printed on the disk's box. Short
// units are SI symbols, which every language shares.

const NBSP = "\u00a0";

export type Format = ReturnType<typeof formatFor>;

export function formatFor(locale: string) {
  const number = (digits: number) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits });
  const whole = number(0);
  const tenth = number(1);
  const hundredth = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const time = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const shortTime = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const exactTime = new Intl.DateTimeFormat(locale, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    hourCycle: "h23",
  });
  const day = new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short" });
  const stamp = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

  function bytes(n: number): string {
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let i = 0;
    while (n >= 999.5 && i < units.length - 1) {
      n /= 1000;
      i++;
    }
    return (n < 100 && i > 0 ? tenth : whole).format(n) + NBSP + units[i];
  }

  // pair writes the two largest units, leaving out a second one that is zero.
  function pair(big: number, unit: string, rest: number, smaller: string): string {
    const first = whole.format(big) + NBSP + unit;
    return rest === 0 ? first : first + " " + whole.format(rest) + NBSP + smaller;
  }

  /** A span in milliseconds; at or below zero counts as under a millisecond. */
  function duration(ms: number): string {
    if (ms < 1) return "<" + NBSP + "1" + NBSP + "ms";
    if (ms < 999.5) return whole.format(ms) + NBSP + "ms";
    if (ms < 59_950) return tenth.format(ms / 1000) + NBSP + "s";
    const s = Math.round(ms / 1000);
    if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
    const min = Math.floor(s / 60);
    if (min < 1440) return pair(Math.floor(min / 60), "h", min % 60, "min");
    const h = Math.floor(min / 60);
    return pair(Math.floor(h / 24), "d", h % 24, "h");
  }

  /** How long ago, coarse: "now" below ten seconds, "12 seconds ago", "yesterday". */
  function ago(ms: number): string {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 10) return relative.format(0, "second");
    if (s < 60) return relative.format(-s, "second");
    if (s < 3600) return relative.format(-Math.floor(s / 60), "minute");
    if (s < 86_400) return relative.format(-Math.floor(s / 3600), "hour");
    return relative.format(-Math.floor(s / 86_400), "day");
  }

  /** The time of day, with the date in front when it is not the day of now. */
  function when(at: number, now: number): string {
    const same = new Date(at).toDateString() === new Date(now).toDateString();
    return same ? time.format(at) : day.format(at) + ", " + time.format(at);
  }

  return {
    bytes,
    rate: (bps: number) => bytes(bps) + "/s",
    percent: (ratio: number) => percent.format(ratio),
    load: (n: number) => hundredth.format(n),
    whole: (n: number) => whole.format(n),
    celsius: (n: number) => whole.format(n) + NBSP + "°C",
    watts: (n: number) => whole.format(n) + NBSP + "W",
    duration,
    ago,
    when,
    time: (at: number) => time.format(at),
    shortTime: (at: number) => shortTime.format(at),
    exactTime: (at: number) => exactTime.format(at),
    day: (at: number) => day.format(at),
    stamp: (at: number) => stamp.format(at),
  };
}

/** Milliseconds since 1970 of an API timestamp; undefined for none and for Go's zero time. */
export function instant(timestamp: string | null | undefined): number | undefined {
  if (!timestamp || timestamp.startsWith("0001-")) return undefined;
  const at = Date.parse(timestamp);
  return Number.isNaN(at) ? undefined : at;
}
