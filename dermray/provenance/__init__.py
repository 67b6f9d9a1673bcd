"""What a drawn image's file says of where it comes from: text in the PNG, and a C2PA manifest that is signed."""
