/** Prints a number that the run should show. Begins a line of its own: uvu's dots stand before it. */
export function figure(text: string): void {
  console.log(`\nFIGURE ${text}`);
}
