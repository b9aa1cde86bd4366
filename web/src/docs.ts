// The description of the API for people, at /api/docs: Swagger UI, which comes
// with the appliance and loads nothing but the document. What is tried out here
// is done with the session of this browser.

import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";

SwaggerUI({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  filter: true,
  tagsSorter: "alpha",
  validatorUrl: null, // no server elsewhere is asked
  withCredentials: true,
});
