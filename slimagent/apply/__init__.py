"""Do what a plan says: export what stays as a tar or a folder, or remove what goes. A deed leaves a receipt."""
