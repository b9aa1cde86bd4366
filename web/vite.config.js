import { svelte } from "@sveltejs/vite-plugin-svelte";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { defineConfig } from "vite";

// precompressed writes a .br and a .gz beside every file, so that the
// dashboard sends bytes and never compresses. The .keep marker lets Go embed
// the folder before the first build.
function precompressed() {
  const brotli = promisify(brotliCompress);
  const gz = promisify(gzip);
  return {
    name: "precompressed",
    apply: "build",
    enforce: "post",
    generateBundle: {
      order: "post",
      async handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          const body = Buffer.from(file.type === "chunk" ? file.code : file.source);
          const br = await brotli(body, {
            params: {
              [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
              [constants.BROTLI_PARAM_SIZE_HINT]: body.length,
            },
          });
          this.emitFile({ type: "asset", fileName: file.fileName + ".br", source: br });
          this.emitFile({ type: "asset", fileName: file.fileName + ".gz", source: await gz(body, { level: 9 }) });
        }
        this.emitFile({ type: "asset", fileName: ".keep", source: "" });
      },
    },
  };
}

export default defineConfig({
  plugins: [svelte({ configFile: false }), precompressed()],
  publicDir: false,
  build: {
    // Nothing inline: the page runs under default-src 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 2000, // Swagger UI
    // Two pages; nothing of the second is loaded by the first.
    rolldownOptions: { input: { index: "index.html", docs: "docs.html" } },
  },
  server: {
    proxy: { "/api": { target: "http://127.0.0.1:8080", ws: true } },
  },
  test: { include: ["test/**/*.test.ts", "n8n/*.test.ts"] },
});
