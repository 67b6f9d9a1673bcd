// What a lesion can be said to be: the words of the service's `attributes`.

const decades = Array.from({ length: 10 }, (_, i) => [String(i * 10), `${i * 10} to ${i * 10 + 9}`]);
const sites = ["back", "abdomen", "chest", "face", "scalp", "neck", "upper extremity", "lower extremity", "hand", "foot"];

/** By name: what it is called, and its values with their names. */
export const ATTRIBUTES = {
  skin_tone: { called: "Skin tone", values: [["A", "A (Fitzpatrick I–II)"], ["B", "B (III–IV)"], ["C", "C (V–VI)"]] },
  malignant: { called: "Label", values: [["false", "benign"], ["true", "malignant"]] },
  entity: {
    called: "Diagnosis",
    values: [
      ["nv", "nevus"], ["mel", "melanoma"], ["bcc", "basal cell carcinoma"], ["akiec", "actinic keratosis"],
      ["bkl", "benign keratosis"], ["df", "dermatofibroma"], ["vasc", "vascular lesion"],
    ],
  },
  age: { called: "Age", values: decades },
  sex: { called: "Sex", values: [["female", "female"], ["male", "male"]] },
  site: { called: "Site", values: sites.map((site) => [site, site]) },
};

/** A value as the service takes it. */
export const typed = (name, value) => (name === "malignant" ? value === "true" : name === "age" ? Number(value) : value);

/** The name of a value, for a caption. */
export function named(name, value) {
  const found = ATTRIBUTES[name].values.find(([known]) => known === value);
  const text = found ? found[1] : value;
  return name === "skin_tone" ? `Tone ${text.replace("Fitzpatrick ", "")}` : name === "age" ? `Age ${text}` : text;
}
