// A page for which there was no answer asks again, and comes once there is one.
"use strict";
setInterval(async () => {
  try {
    const answer = await fetch(location.href, { method: "HEAD", headers: { Accept: "text/html" } });
    if (answer.status !== 503) location.reload();
  } catch { /* the server is away, too: asked again at the next turn */ }
}, 5_000);
