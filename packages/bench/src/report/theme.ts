/** Colours of lines in order of use: after Okabe and Ito, safe for colour-blind readers, dark enough for text. */
const LIGHT = ['#0072b2', '#c2410c', '#00795c', '#9d3f86', '#8a6100', '#1f7f9c', '#57606a', '#4338ca'];
const DARK = ['#6cb6f5', '#ff9a5c', '#3fcf9f', '#e8a4d0', '#f0c04a', '#8fdcf0', '#b6bec7', '#aab4ff'];

export const COLOURS = LIGHT.length;
/** Dashes of lines that share a colour, such as `plugin` and `plugin, pkcs11:`. */
export const DASHES = ['none', '7 3', '2 3', '10 3 2 3'];

const rules = (colours: readonly string[]): string =>
  colours.map((colour, index) => `.s${index}{color:${colour}}`).join('');

/** Charts have no background, so that they fit light and dark pages. */
export const CHART_CSS = `text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:#57606a}
.title{font-weight:600;font-size:15px;fill:#24292f}.grid{stroke:#d0d7de}.axis{stroke:#8c959f}.reference{stroke:#57606a;stroke-dasharray:2 4}
${rules(LIGHT)}
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}${DASHES.map((dash, index) => `.d${index}{stroke-dasharray:${dash}}`).join('')}
.dot{fill:currentColor}.name{fill:currentColor;font-weight:500}.lead{stroke:currentColor;stroke-dasharray:1 3;opacity:.7}
@media(prefers-color-scheme:dark){text{fill:#9da7b3}.title{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#6e7681}.reference{stroke:#9da7b3}
${rules(DARK)}}`;
