// What the page knows about the appliance: fetched once, kept current by the
// stream, fetched again after each reconnection.
//
// It holds and merges; it does not decide what that means (overall.ts, story.ts).

import {
  asApiError,
  dialLive,
  fetchHistory,
  fetchIncidents,
  fetchServices,
  fetchStatus,
  type ApiError,
  type Incident,
  type IncidentFilter,
  type IncidentPage,
  type LiveEvent,
  type Sample,
  type Service,
  type SystemStatus,
} from "./api";
import { instant } from "./format";
import { append, merge } from "./series";
import { Stream, type Link } from "./stream";

/** Milliseconds until something that could not be fetched is asked for again. */
const RETRY = 15_000;

type Part = "status" | "services" | "incidents" | "recent";

export class Appliance {
  link = $state<Link>("stopped");
  status = $state.raw<SystemStatus>();
  services = $state.raw<Service[]>();
  incidents = $state.raw<Incident[]>();
  /** By what was asked for: where those begin that are not known yet; "" when all are. */
  next = $state<Record<string, string>>({});
  /** The last 15 minutes, oldest first. */
  recent = $state.raw<Sample[]>();
  /** The incident that changed last while the page was open. */
  changed = $state.raw<Incident>();
  /** Why a part could not be fetched, until it could. */
  errors = $state<Partial<Record<Part, ApiError>>>({});
  /** When something was last heard, by this browser's clock. */
  heardAt = $state(Date.now());
  /** This browser's clock, once a second while the page is visible. */
  now = $state(Date.now());
  /** How far the appliance's clock is ahead of ours, in milliseconds. */
  skew = $state(0);

  readonly sample = $derived(this.recent?.at(-1));
  /** The appliance's own time, for ages of what it reports. */
  readonly there = $derived(this.now + this.skew);

  // Counts what the stream said, so that a slower answer does not undo it.
  #said = { status: 0, services: 0 };
  #saidIncidents = new Map<string, Incident>();
  #listed = false;

  readonly #load: Record<Part, () => Promise<void>> = {
    status: () => {
      const said = this.#said.status;
      return this.#fetch("status", fetchStatus, (s) => said === this.#said.status && this.#takeStatus(s));
    },
    services: () => {
      const said = this.#said.services;
      return this.#fetch("services", fetchServices, (s) => said === this.#said.services && (this.services = s));
    },
    recent: () =>
      this.#fetch("recent", () => fetchHistory("1h"), (s) => (this.recent = merge(s, this.recent ?? []))),
    incidents: () => {
      this.#saidIncidents.clear();
      return this.#fetch("incidents", () => fetchIncidents(everything), (page) => {
        this.next = {};
        this.#takeIncidents(page, keyOf(everything));
      });
    },
  };

  readonly #stream = new Stream({
    dial: dialLive,
    onLink: (link) => {
      this.link = link;
      // Without a stream there may still be answers, or errors to show.
      if (link === "live" || (link === "waiting" && !this.status)) void this.refresh();
    },
    onMessage: (data) => this.#hear(JSON.parse(data) as LiveEvent),
  });

  /** Connects, and returns the function that ends it all. */
  start(): () => void {
    const tick = () => {
      if (!document.hidden) this.now = Date.now();
    };
    const clock = setInterval(tick, 1000);
    const again = setInterval(() => {
      if (!document.hidden) void this.refresh(Object.keys(this.errors) as Part[]);
    }, RETRY);
    const wake = () => {
      tick();
      if (!document.hidden) this.#stream.wake();
    };
    document.addEventListener("visibilitychange", wake);
    window.addEventListener("online", wake);
    this.#stream.start();
    return () => {
      clearInterval(clock);
      clearInterval(again);
      document.removeEventListener("visibilitychange", wake);
      window.removeEventListener("online", wake);
      this.#stream.stop();
    };
  }

  /** Asks for everything again, and for the connection at once. */
  retry(): void {
    this.#stream.wake();
    void this.refresh();
  }

  async refresh(parts: Part[] = ["status", "services", "recent", "incidents"]): Promise<void> {
    await Promise.all(parts.map((part) => this.#load[part]()));
  }

  /** Asks for the first incidents that match, or for those after the ones that are known. */
  async older(filter: IncidentFilter): Promise<void> {
    const key = keyOf(filter);
    const take = (page: IncidentPage) => this.#takeIncidents(page, key, this.incidents);
    await this.#fetch("incidents", () => fetchIncidents(filter, this.next[key]), take);
  }

  async #fetch<T>(part: Part, ask: () => Promise<T>, take: (answer: T) => unknown): Promise<void> {
    try {
      take(await ask());
      delete this.errors[part];
      this.heardAt = Date.now();
    } catch (err) {
      this.errors[part] = asApiError(err);
    }
  }

  #takeStatus(s: SystemStatus): void {
    this.status = s;
    const there = instant(s.timestamp);
    if (there !== undefined) this.skew = there - Date.now();
  }

  #takeIncidents(page: IncidentPage, key: string, known: Incident[] = []): void {
    const byID = new Map([...known, ...page.events].map((i) => [i.id, i]));
    for (const [id, i] of this.#saidIncidents) byID.set(id, i);
    this.incidents = newestFirst([...byID.values()]);
    this.next[key] = page.next ?? "";
    this.#listed = true;
  }

  #hear(e: LiveEvent): void {
    this.heardAt = this.now = Date.now();
    if (e.sample) this.recent = append(this.recent ?? [], e.sample);
    if (e.status) {
      this.#said.status++;
      this.#takeStatus(e.status);
    }
    if (e.services) {
      this.#said.services++;
      this.services = e.services;
    }
    if (e.incident) {
      const heard = e.incident;
      const before = this.incidents?.find((i) => i.id === heard.id);
      // Each connection begins by repeating what is known; that is no news.
      if (this.#listed && heard.state !== before?.state) this.changed = heard;
      this.#saidIncidents.set(heard.id, heard);
      this.incidents = newestFirst([heard, ...(this.incidents ?? []).filter((i) => i.id !== heard.id)]);
    }
  }
}

const everything: IncidentFilter = { open: false, class: "", unit: "" };

/** The key of what was asked for in Appliance.next. */
export const keyOf = (f: IncidentFilter): string => JSON.stringify([f.open, f.class, f.unit]);

const newestFirst = (incidents: Incident[]) =>
  incidents.sort((a, b) => (instant(b.fault_at) ?? 0) - (instant(a.fault_at) ?? 0));
