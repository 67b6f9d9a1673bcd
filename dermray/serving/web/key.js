// The API key: in this tab's sessionStorage and nowhere else.

const PLACE = "dermray-key";

export const current = () => sessionStorage.getItem(PLACE);
export const keep = (key) => sessionStorage.setItem(PLACE, key);

/** The key, and what else this tab remembers. */
export function forget() {
  sessionStorage.clear();
}

/** What is wrong with a key before anybody is asked, or null. */
export function fault(key) {
  if (!key) return "Enter the key that the service’s operator gave you.";
  if (!/^[\x21-\x7e]+$/.test(key)) return "A key has no spaces and no letters beyond ASCII: copy it again.";
  return null;
}
