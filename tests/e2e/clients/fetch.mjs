// node fetch.mjs: does with fetch() what standard input asks for, and says on standard output what came of it.
//
// In: {"together": false, "requests": [{"url", "options", "abort"}]}; out: {"connections", "answers": [{"status",
// "url", "redirected", "fields", "length", "body", "error"}]}, the body in base64. Requests are made one after the
// other, or all together. One with `abort` is given up when its first bytes have come. Between two requests is a
// pause, in which undici puts the connection back into its pool: without it, it may open another for no fault of the
// server.
import diagnostics_channel from 'node:diagnostics_channel';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';

let connections = 0;
diagnostics_channel.channel('undici:client:connected').subscribe(() => { connections++; });

async function one({ url, options, abort }) {
    const controller = new AbortController();
    try {
        const response = await fetch(url, { ...options, signal: controller.signal });
        const answer = {
            status: response.status,
            url: response.url,
            redirected: response.redirected,
            fields: Object.fromEntries(response.headers),
        };
        if (abort) {
            await response.body.getReader().read();
            controller.abort();
            return answer;
        }
        const body = Buffer.from(await response.arrayBuffer());
        return { ...answer, length: body.length, body: body.toString('base64') };
    } catch (error) {
        return { error: `${error}: ${error.cause ?? ''}` };
    }
}

const { together, requests } = JSON.parse(await text(process.stdin));
let answers = [];
if (together)
    answers = await Promise.all(requests.map(one));
else
    for (const request of requests) {
        answers.push(await one(request));
        await pause(10);
    }
process.stdout.write(JSON.stringify({ connections, answers }), () => process.exit(0));
