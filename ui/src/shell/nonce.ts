/** nonce is what the page's policy of content wants to see on style elements. */
export const nonce = () => document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
