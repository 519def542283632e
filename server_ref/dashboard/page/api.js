// The server's calls. The token lives in this tab's session storage and travels in a header only.

const KEY = "edge-sdk-operator-token";

export class SignedOut extends Error {}

export const token = () => sessionStorage.getItem(KEY);
export const keepToken = (value) => sessionStorage.setItem(KEY, value);
export const dropToken = () => sessionStorage.removeItem(KEY);

async function request(path, options = {}) {
  const headers = { Authorization: `Bearer ${token()}` };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer;
}

export const ask = async (path) => (await request(path)).json();
export const order = async (path) => (await request(path, { method: "POST" })).json();

// Server-sent events by fetch: EventSource could not send the token in a header.
export async function follow(heard, signal) {
  const answer = await request("v1/events", { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ")) heard(JSON.parse(block.slice(6)));
      else heard(null);
    }
  }
}
