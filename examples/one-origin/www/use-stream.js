// A React hook for one streamed answer: `const { text, state, error, send, stop } = useStream(url)`.
// `state` is idle, connecting, open, waiting, offline, done, failed or stopped.

import { useCallback, useEffect, useRef, useState } from "react";
import { stream } from "/client.js";

export function useStream(url, { headers, read }) {
  const [answer, setAnswer] = useState({ text: "", state: "idle", error: null });
  const running = useRef(null);
  const options = useRef({ headers, read });
  useEffect(() => {
    options.current = { headers, read };
  });
  // A component that is taken off the page stops its generation.
  useEffect(() => () => running.current?.abort(), []);

  const send = useCallback(async (body) => {
    running.current?.abort();
    const mine = new AbortController();
    running.current = mine;
    const change = (part) => {
      if (!mine.signal.aborted) setAnswer((old) => ({ ...old, ...part }));
    };
    setAnswer({ text: "", state: "connecting", error: null });
    try {
      const events = stream(url, {
        body,
        headers: () => options.current.headers(),
        signal: mine.signal,
        onState: (state) => change({ state }),
      });
      for await (const event of events) {
        if (event.data === "[DONE]" || mine.signal.aborted) continue;
        const more = options.current.read(event.json());
        setAnswer((old) => ({ ...old, text: old.text + more }));
      }
      change({ state: "done" });
    } catch (error) {
      change({ state: "failed", error });
    }
  }, [url]);

  const stop = useCallback(() => {
    setAnswer((old) => ({ ...old, state: "stopped" }));
    running.current?.abort();
  }, []);

  return { ...answer, send, stop };
}
