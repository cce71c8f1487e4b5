// Reads [{place, text}] from its input, writes what Mermaid's parser refuses as ["place: why"].
// Run by check-docs.py; no browser: Mermaid only wants a document to be there.
import { readFileSync } from 'node:fs';
import { JSDOM } from 'jsdom';

globalThis.window = new JSDOM('').window;
globalThis.document = globalThis.window.document;
const { default: mermaid } = await import('mermaid');

const refused = [];
for (const { place, text } of JSON.parse(readFileSync(0, 'utf8'))) {
    try {
        await mermaid.parse(text);
    } catch (error) {
        refused.push(`${place}: ${error.message.split('\n').slice(0, 2).join(' ')}`);
    }
}
console.log(JSON.stringify(refused));
