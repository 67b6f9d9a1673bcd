// What a PNG says of itself: its text chunks, and whether a C2PA manifest lies in it.

const utf8 = new TextDecoder();
const latin = new TextDecoder("latin1");

/** Pairs of name and text, and whether it is signed, of the bytes of a PNG. */
export function said(bytes) {
  const view = new DataView(bytes);
  const texts = [];
  let signed = false;
  for (let at = 8; at + 12 <= view.byteLength; ) {
    const length = view.getUint32(at);
    const kind = latin.decode(new Uint8Array(bytes, at + 4, 4));
    if (at + 12 + length > view.byteLength) break; // cut short
    const data = new Uint8Array(bytes, at + 8, length);
    if (kind === "iTXt") texts.push(international(data));
    if (kind === "tEXt") texts.push([latin.decode(data.subarray(0, data.indexOf(0))), latin.decode(data.subarray(data.indexOf(0) + 1))]);
    if (kind === "caBX") signed = true;
    at += 12 + length;
  }
  return { texts, signed };
}

/** name NUL compressed? method language NUL name-in-that-language NUL text; the service compresses none. */
function international(data) {
  const name = data.indexOf(0);
  const language = data.indexOf(0, name + 3);
  const translated = data.indexOf(0, language + 1);
  const text = data[name + 1] ? "(compressed)" : utf8.decode(data.subarray(translated + 1));
  return [latin.decode(data.subarray(0, name)), text];
}
