// Events a second, over the newest five seconds.

const SECONDS = 5;

export function createRate() {
  const seconds = []; // [second, events], oldest first
  const now = () => Math.floor(performance.now() / 1000);
  const start = now();
  return {
    add(number) {
      if (seconds.at(-1)?.[0] === now()) seconds.at(-1)[1] += number;
      else seconds.push([now(), number]);
      if (seconds.length > SECONDS + 2) seconds.shift();
    },
    now() {
      const second = now();
      const heard = seconds.reduce((sum, [at, number]) => sum + (at < second && at >= second - SECONDS ? number : 0), 0);
      return heard / Math.max(1, Math.min(SECONDS, second - start));
    },
  };
}
