// A QR code as the path of an SVG: no image file, no inline style.

import encode from "qr";

/** The dark modules of text, and the width of the square with its quiet zone. */
export function picture(text: string): { path: string; size: number } {
  const rows = encode(text, "raw", { ecc: "medium", border: 4 });
  let path = "";
  rows.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (dark) path += `M${x} ${y}h1v1h-1z`;
    }),
  );
  return { path, size: rows.length };
}
