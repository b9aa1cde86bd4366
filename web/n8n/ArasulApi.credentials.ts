// Where this machine's models answer. n8n's provisioning makes one of these, called
// Arasul; nobody has to fill it in.
export class ArasulApi {
  name = "arasulApi";
  displayName = "Arasul API";
  documentationUrl = "https://arasul.local/api/docs";
  properties = [
    {
      displayName: "Address",
      name: "baseUrl",
      type: "string",
      default: "http://127.0.0.1:11440",
      description: "Of the gateway to the models, which listens on this machine only",
    },
  ];
  test = { request: { baseURL: "={{$credentials.baseUrl}}", url: "/v1/models" } };
}
